//! The whole product in one go: a cluster, the operator, the example, and a message from one client to
//! another through the LoadBalancer address. Where no containers can run, the embedded gateway shows the
//! same message.

use std::{io::IsTerminal, path::PathBuf};

use anyhow::{Context, Result, bail};
use tokio::net::TcpListener;

use crate::{
    install::{self, repository},
    local::{
        command::{command, output, output_with_input},
        images,
        layout::Layout,
        preflight::CannotRunContainers,
        step::{note, step},
        tools, up,
    },
    target::Target,
};

mod exchange;

/// The example's namespace and its RealtimeCluster.
const NAMESPACE: &str = "chat-demo";
const CLUSTER: &str = "realtimecluster/chat";

/// In a cluster; it stays up afterwards.
pub async fn run(layout: &Layout) -> Result<()> {
    let target = Target::from_env(layout);
    match &target {
        Target::Local => up::up(layout).await?,
        Target::Given { kubeconfig } => {
            note(format!(
                "using the cluster of KUBECONFIG={}",
                kubeconfig.to_string_lossy()
            ));
            tools::build(layout).await?;
        }
    }
    let built = images::build_for_product(layout).await?;
    let images = target.deliver(layout, &built).await?;
    install::install(layout, &target, &images).await?;

    step("applying examples/chat", async {
        let examples = examples();
        let mut apply = target.tool(
            layout,
            "kubectl",
            &["apply", "--server-side", "--force-conflicts", "-f"],
        );
        output(apply.arg(examples)).await
    })
    .await?;
    step(
        "waiting until the RealtimeCluster is Ready",
        wait_until_ready(layout, &target),
    )
    .await?;
    let url = read(layout, &target, "{.status.endpoint.websocket}").await?;
    let page = read(layout, &target, "{.status.endpoint.address}").await?;
    exchange::show(&gateway()?, &examples(), &url).await?;

    let kubectl = match target {
        Target::Local => format!("{} kubectl --", shown(&this_program()?)),
        Target::Given { .. } => "kubectl".to_owned(),
    };
    println!();
    println!("The endpoint:      {url}");
    println!("A client:          {}", client_command(&url)?);
    println!("In a browser:      http://{page}/");
    println!("Look around:       {kubectl} --namespace {NAMESPACE} get rotunda");
    if let Target::Local = target {
        println!("Take it down:      make down");
    } else {
        println!(
            "Take it down:      kubectl delete namespace {NAMESPACE}; helm uninstall rotunda --namespace rotunda-system"
        );
    }
    Ok(())
}

/// Without a cluster, where containers can't run.
pub async fn run_embedded(reason: &CannotRunContainers) -> Result<()> {
    note(reason);
    note("so here is the gateway alone, on the same manifests");
    let gateway = gateway()?;
    let [public, api, ops] = [
        free_address().await?,
        free_address().await?,
        free_address().await?,
    ];
    let mut serve = command(
        &gateway,
        [
            "dev",
            "--listen",
            &public,
            "--api-listen",
            &api,
            "--ops-listen",
            &ops,
        ],
    );
    // Its complaints are for the user as well; what it tells in between would tear the steps apart.
    serve.arg(examples()).env("RUST_LOG", "warn");
    let mut serving = serve.spawn().context("starting the embedded gateway")?;
    step(
        "waiting for the gateway",
        exchange::wait_for(&public, &mut serving),
    )
    .await?;
    let url = format!("ws://{public}/v1/ws");
    exchange::show(&gateway, &examples(), &url).await?;

    println!();
    if !std::io::stdout().is_terminal() {
        println!(
            "Nobody is at a terminal to end it, so it ends now; `make dev` keeps one running."
        );
        return Ok(());
    }
    println!("The endpoint:      {url}");
    println!("A client:          {}", client_command(&url)?);
    println!("In a browser:      http://{public}/");
    println!("Take it down:      Ctrl-C");
    tokio::select! {
        signal = tokio::signal::ctrl_c() => Ok(signal?),
        ended = serving.wait() => bail!("the gateway has ended ({})", ended?),
    }
}

async fn wait_until_ready(layout: &Layout, target: &Target) -> Result<()> {
    let wait = [
        "wait",
        "--for=condition=Ready",
        "--timeout=5m",
        "--namespace",
        NAMESPACE,
        CLUSTER,
    ];
    let Err(error) = output(&mut target.tool(layout, "kubectl", &wait)).await else {
        return Ok(());
    };
    let conditions =
        "{range .status.conditions[*]}{.type} {.status} {.reason}: {.message}{\"\\n\"}{end}";
    let conditions = read(layout, target, conditions).await.unwrap_or_default();
    bail!("{error:#}\nIts conditions:\n{conditions}");
}

async fn read(layout: &Layout, target: &Target, path: &str) -> Result<String> {
    let format = format!("--output=jsonpath={path}");
    let get = ["get", CLUSTER, "--namespace", NAMESPACE, &format];
    output_with_input(&mut target.tool(layout, "kubectl", &get), "").await
}

fn client_command(url: &str) -> Result<String> {
    let gateway = shown(&gateway()?);
    let examples = shown(&examples());
    Ok(format!(
        "{gateway} listen --url {url} --room lobby --token \"$({gateway} token --user carol {examples})\""
    ))
}

fn examples() -> PathBuf {
    let folder = repository().join("examples/chat");
    folder.canonicalize().unwrap_or(folder)
}

fn gateway() -> Result<PathBuf> {
    let gateway = this_program()?.with_file_name("rotunda-gateway");
    if !gateway.exists() {
        bail!(
            "{} is missing; `cargo build --workspace` makes it",
            gateway.display()
        );
    }
    Ok(gateway)
}

fn this_program() -> Result<PathBuf> {
    std::env::current_exe().context("finding this program")
}

/// As short as it can be typed from here.
fn shown(path: &std::path::Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here)
        .unwrap_or(path)
        .display()
        .to_string()
}

/// An address that is free now; there is a moment until the gateway takes it.
async fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")
        .await?
        .local_addr()?
        .to_string())
}
