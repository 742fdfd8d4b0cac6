//! Processes of pods. The cluster's node is this machine, so they are its processes too.

use std::fs;

use anyhow::{Result, bail};

use crate::{
    local::command::{command, output},
    namespace::RunningPod,
};

impl RunningPod {
    /// Kills a program that runs in the pod, with a signal that it can't see coming; the kubelet starts it again.
    pub async fn kill(&self, program: &str) -> Result<()> {
        let process = self.process(program)?;
        output(&mut command("kill", ["-9", &process]))
            .await
            .map(drop)
    }

    /// The number of the process.
    fn process(&self, program: &str) -> Result<String> {
        for entry in fs::read_dir("/proc")? {
            let folder = entry?.path();
            // Processes come and go while we look.
            let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
            let is_it = read("comm").trim() == program && read("cgroup").contains(&self.uid);
            if is_it {
                return Ok(folder
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned());
            }
        }
        bail!("no {program} on this machine belongs to {}", self.name)
    }
}
