//! The command line.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;

use crate::{client, dev, serve, token};

/// Rotunda's gateway: WebSockets, event streams and polls in front, rooms behind.
#[derive(Debug, Parser)]
#[command(name = "rotunda-gateway", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve in a pod, with the config folder that the operator's ConfigMap and Secret are mounted at
    Serve {
        /// The projected volume with config.json.gz, revision and the secret files
        #[arg(long, value_name = "FOLDER", default_value = "/etc/rotunda")]
        config_dir: PathBuf,
        #[command(flatten)]
        addresses: ServeAddresses,
    },
    /// Serve on this machine from manifests: a RealtimeCluster, its Rooms and its Secrets, without Kubernetes
    ///
    /// With the page at / to join a room and chat. Messages are kept in memory unless --redis is given. Stops at once on Ctrl-C.
    ///
    /// WARNING: the page is handed tokens for any user, so that nothing has to be pasted. Listen on 127.0.0.1 only.
    #[command(verbatim_doc_comment)]
    Dev {
        #[command(flatten)]
        manifests: Manifests,
        /// Use this Redis instead of the memory: redis://[user:password@]host[:port][/db], redis+sentinel://…/master or redis+cluster://…; rediss… for TLS
        #[arg(long, value_name = "URL")]
        redis: Option<String>,
        #[command(flatten)]
        addresses: DevAddresses,
    },
    /// Print a token, signed with the key that the manifests' Secret holds
    Token(token::Options),
    /// Join rooms and print one JSON frame a line
    Listen(client::ListenOptions),
    /// Publish one message and print its id
    Send(client::SendOptions),
}

/// Which manifests to read.
#[derive(Debug, Args)]
pub struct Manifests {
    /// YAML files, or folders of them; several documents in a file are fine. Other kinds are skipped
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Which RealtimeCluster, if the files hold several
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
}

/// Where to listen.
#[derive(Clone, Debug)]
pub struct Addresses {
    pub listen: SocketAddr,
    pub api_listen: SocketAddr,
    pub ops_listen: SocketAddr,
}

#[derive(Debug, Args)]
struct ServeAddresses {
    /// Where clients connect
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Where the application's servers connect, with API keys
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8081")]
    api_listen: SocketAddr,
    /// Where /livez, /readyz, /metrics and /stats are
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9090")]
    ops_listen: SocketAddr,
}

#[derive(Debug, Args)]
struct DevAddresses {
    /// Where clients connect, and the page is
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where the application's servers connect, with API keys
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    api_listen: SocketAddr,
    /// Where /livez, /readyz, /metrics and /stats are
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    ops_listen: SocketAddr,
}

impl Cli {
    /// Sets up the logs and does what was asked.
    pub async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Serve {
                config_dir,
                addresses,
            } => {
                init_logs("info");
                let ServeAddresses {
                    listen,
                    api_listen,
                    ops_listen,
                } = addresses;
                let addresses = Addresses {
                    listen,
                    api_listen,
                    ops_listen,
                };
                serve::run(config_dir, addresses).await
            }
            Command::Dev {
                manifests,
                redis,
                addresses,
            } => {
                init_logs("info");
                let DevAddresses {
                    listen,
                    api_listen,
                    ops_listen,
                } = addresses;
                let addresses = Addresses {
                    listen,
                    api_listen,
                    ops_listen,
                };
                dev::run(&manifests, redis, &addresses).await
            }
            Command::Token(options) => token::run(&options),
            Command::Listen(options) => client::listen(&options).await,
            Command::Send(options) => client::send(&options).await,
        }
    }
}

/// What writes whole frames into its traces, and so the tokens in `refresh`: these modules stay quieter, whatever `RUST_LOG` says.
const NEVER_TRACED: [&str; 4] = [
    "tungstenite=info",
    "tungstenite::protocol=info",
    "tungstenite::protocol::frame=info",
    "tungstenite::handshake=info",
];

/// Logs go to standard error: as lines for people at a terminal, as JSON otherwise. `RUST_LOG` chooses what.
fn init_logs(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let filter = NEVER_TRACED.iter().fold(filter, |filter, module| {
        filter.add_directive(Directive::from_str(module).expect("it is written correctly"))
    });
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        builder.init();
    } else {
        builder.json().flatten_event(true).init();
    }
}
