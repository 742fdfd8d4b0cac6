//! What every other test takes for granted: names, addresses and volumes of the local cluster.

use std::time::Duration;

use anyhow::{Result, ensure};
use rotunda_e2e::{eventually::eventually, namespace::with_temp_ns};
use tokio::net::TcpStream;

/// A Redis with a volume, behind a Service of its own and a LoadBalancer.
const REDIS: &str = "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: { name: data }
spec:
  accessModes: [ReadWriteOnce]
  resources: { requests: { storage: 1Gi } }
---
apiVersion: v1
kind: Pod
metadata: { name: redis, labels: { app: redis } }
spec:
  containers:
    - name: redis
      image: IMAGE
      args: [redis-server, --dir, /data, --appendonly, 'yes', --bind, 0.0.0.0, --protected-mode, 'no']
      readinessProbe: { exec: { command: [redis-cli, ping] }, periodSeconds: 1 }
      volumeMounts: [{ name: data, mountPath: /data }]
  terminationGracePeriodSeconds: 1
  volumes: [{ name: data, persistentVolumeClaim: { claimName: data } }]
---
apiVersion: v1
kind: Service
metadata: { name: inside }
spec: { selector: { app: redis }, ports: [{ port: 6379 }] }
---
apiVersion: v1
kind: Service
metadata: { name: outside }
spec: { type: LoadBalancer, selector: { app: redis }, ports: [{ port: 6379 }] }
";

#[tokio::test]
async fn pods_have_names_addresses_and_volumes() -> Result<()> {
    with_temp_ns("machinery", async |namespace| {
        let manifests = REDIS.replace("IMAGE", &namespace.cluster().image("rotunda-redis")?);
        namespace.apply(&manifests).await?;
        namespace.ready_pods("app=redis", 1).await?;

        let host = format!("inside.{}.svc.cluster.local", namespace.name());
        let ping = ["exec", "redis", "--", "redis-cli", "-h", &host, "ping"];
        eventually(
            "the pod is found by its Service's name",
            Duration::from_secs(20),
            async || {
                let answer = namespace.kubectl(&ping).await?;
                ensure!(answer.trim() == "PONG", "{answer}");
                Ok(())
            },
        )
        .await?;

        let address = namespace.load_balancer_address("outside").await?;
        eventually(
            "its LoadBalancer answers",
            Duration::from_secs(20),
            async || Ok(TcpStream::connect((address.as_str(), 6379)).await?),
        )
        .await?;

        let patch = r#"{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}"#;
        namespace
            .kubectl(&["patch", "persistentvolumeclaim", "data", "--patch", patch])
            .await?;
        eventually(
            "the volume grows with its claim",
            Duration::from_secs(20),
            async || {
                let get = [
                    "get",
                    "persistentvolumeclaim",
                    "data",
                    "--output=jsonpath={.status.capacity.storage}",
                ];
                let size = namespace.kubectl(&get).await?;
                ensure!(size == "2Gi", "it has {size}");
                Ok(())
            },
        )
        .await?;

        let get = [
            "get",
            "persistentvolumeclaim",
            "data",
            "--output=jsonpath={.spec.volumeName}",
        ];
        let volume = namespace.kubectl(&get).await?;
        namespace
            .kubectl(&["delete", "pod/redis", "persistentvolumeclaim/data"])
            .await?;
        eventually(
            "the volume goes with its claim",
            Duration::from_secs(20),
            async || {
                let get = [
                    "get",
                    "persistentvolume",
                    &volume,
                    "--ignore-not-found",
                    "--output=name",
                ];
                let found = namespace.cluster().kubectl(&get).await?;
                ensure!(found.is_empty(), "{found} is there");
                Ok(())
            },
        )
        .await
    })
    .await
}
