//! What goes into an image: a Dockerfile and the files of its context, all of them from this machine.
//! Binaries that are linked dynamically bring the libraries that they were linked with.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::super::{
    command::{command, output},
    digest::digest,
};

/// Debian's Redis is one program that acts by the name it is started under.
const REDIS_PROGRAM: &str = "/usr/bin/redis-check-rdb";
/// What a script in a Redis pod may call.
const SHELL_TOOLS: [&str; 26] = [
    "bash", "cat", "chmod", "cp", "cut", "date", "dd", "env", "grep", "head", "hostname", "id",
    "ls", "mkdir", "mv", "printf", "rm", "sed", "seq", "sleep", "sort", "tail", "touch", "tr",
    "wc", "timeout",
];
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
const PASSWD: &str =
    "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnonroot:x:65532:\n";
const NSSWITCH: &str = "hosts: files dns\n";

/// How one image is made.
pub(super) struct Recipe {
    /// Its name, without registry and tag.
    pub(super) name: &'static str,
    dockerfile: String,
    /// Values for the Dockerfile's `ARG`s.
    pub(super) arguments: Vec<(&'static str, String)>,
    /// Copied files: from where on this machine, to where in the context.
    files: Vec<(PathBuf, String)>,
    /// Written files: where in the context, and their content.
    texts: Vec<(&'static str, &'static str)>,
    /// Empty folders and their modes.
    folders: Vec<(&'static str, u32)>,
    /// Leave debug information out of the copies.
    strip: bool,
}

impl Recipe {
    fn new(name: &'static str, dockerfile: &Path) -> Result<Self> {
        Ok(Self {
            name,
            dockerfile: fs::read_to_string(dockerfile)
                .with_context(|| format!("reading {}", dockerfile.display()))?,
            arguments: Vec::new(),
            files: Vec::new(),
            texts: Vec::new(),
            folders: Vec::new(),
            strip: false,
        })
    }

    fn of_cluster(name: &'static str, folder: &str) -> Result<Self> {
        Self::new(name, &super::dockerfiles().join(folder).join("Dockerfile"))
    }

    /// A static program alone.
    pub(super) fn of_tool(name: &'static str, program: &Path) -> Result<Self> {
        let files = vec![(program.to_owned(), name.to_owned())];
        Ok(Self {
            files,
            ..Self::of_cluster(name, name)?
        })
    }

    /// One of the product's binaries, by the Dockerfile that users build with too.
    pub(super) fn of_product(name: &'static str, binary: &Path, base: &str) -> Result<Self> {
        if !binary.exists() {
            bail!(
                "{} is missing; `cargo build --workspace` makes it",
                binary.display()
            );
        }
        let folder = name.trim_start_matches("rotunda-");
        let dockerfile = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(folder)
            .join("Dockerfile");
        Ok(Self {
            arguments: vec![("BASE", base.to_owned()), ("BINARY", name.to_owned())],
            files: vec![(binary.to_owned(), name.to_owned())],
            strip: true,
            ..Self::new(name, &dockerfile)?
        })
    }

    /// `localhost/<name>:<hash of everything in it>`.
    pub(super) async fn reference(&self) -> Result<String> {
        let sources: Vec<_> = self.files.iter().map(|(source, _)| source).collect();
        let targets: Vec<_> = self.files.iter().map(|(_, target)| target).collect();
        let rest = (
            &self.dockerfile,
            &self.arguments,
            targets,
            &self.texts,
            &self.folders,
        );
        let tag = digest(&sources, &format!("{rest:?}")).await?;
        Ok(format!("localhost/{}:{tag}", self.name))
    }

    /// Writes the context, with the Dockerfile in it, to an empty folder.
    pub(super) async fn write_context(&self, folder: &Path) -> Result<()> {
        fs::write(folder.join("Dockerfile"), &self.dockerfile)?;
        for (source, target) in &self.files {
            let target = folder.join(target);
            create_parent(&target)?;
            fs::copy(source, &target).with_context(|| format!("copying {}", source.display()))?;
            if self.strip {
                output(command("strip", ["--strip-debug"]).arg(&target)).await?;
            }
        }
        for (target, content) in &self.texts {
            let target = folder.join(target);
            create_parent(&target)?;
            fs::write(&target, content)?;
        }
        for (target, mode) in &self.folders {
            let target = folder.join(target);
            fs::create_dir_all(&target)?;
            fs::set_permissions(&target, fs::Permissions::from_mode(*mode))?;
        }
        Ok(())
    }
}

/// What the product's images stand on: the libraries that its binaries ask for.
pub(super) async fn base(binaries: &Path) -> Result<Recipe> {
    let linked = ["rotunda-operator", "rotunda-gateway"].map(|name| binaries.join(name));
    let missing = linked.iter().find(|binary| !binary.exists());
    if let Some(missing) = missing {
        bail!(
            "{} is missing; `cargo build --workspace` makes it",
            missing.display()
        );
    }
    let mut files = in_rootfs(libraries(&linked).await?);
    if Path::new(CERTIFICATES).exists() {
        files.extend(in_rootfs([CERTIFICATES.into()]));
    }
    Ok(Recipe {
        files,
        texts: accounts(),
        folders: vec![("rootfs/tmp", 0o1777)],
        ..Recipe::of_cluster("rotunda-base", "base")?
    })
}

/// Redis as Debian packs it, for clusters that manage theirs.
pub(super) async fn redis() -> Result<Recipe> {
    let mut programs = vec![
        PathBuf::from(REDIS_PROGRAM),
        "/usr/bin/redis-cli".into(),
        "/bin/dash".into(),
    ];
    let shell_tools = SHELL_TOOLS
        .iter()
        .map(|name| Path::new("/usr/bin").join(name));
    programs.extend(shell_tools.filter(|tool| tool.exists()));
    let mut files = in_rootfs(libraries(&programs).await?);
    for program in &programs {
        let name = match program.file_name().and_then(|name| name.to_str()) {
            Some("redis-check-rdb") => "redis-server",
            Some("dash") => "sh",
            Some(name) => name,
            None => continue,
        };
        files.push((program.clone(), format!("rootfs/usr/bin/{name}")));
    }
    // Scripts name their shell by this path.
    files.push(("/bin/dash".into(), "rootfs/bin/sh".into()));
    Ok(Recipe {
        files,
        texts: accounts(),
        folders: vec![
            ("rootfs/tmp", 0o1777),
            ("rootfs/data", 0o777),
            ("rootfs/etc/redis", 0o755),
        ],
        ..Recipe::of_cluster("rotunda-redis", "redis")?
    })
}

fn accounts() -> Vec<(&'static str, &'static str)> {
    vec![
        ("rootfs/etc/passwd", PASSWD),
        ("rootfs/etc/group", GROUP),
        ("rootfs/etc/nsswitch.conf", NSSWITCH),
    ]
}

fn in_rootfs(files: impl IntoIterator<Item = PathBuf>) -> Vec<(PathBuf, String)> {
    let target = |file: &Path| format!("rootfs{}", file.display());
    files
        .into_iter()
        .map(|file| (file.clone(), target(&file)))
        .collect()
}

/// The shared libraries of some programs, and the loader.
async fn libraries(programs: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for program in programs {
        found.extend(parse_libraries(
            &output(command("ldd", [""; 0]).arg(program)).await?,
        ));
    }
    Ok(found)
}

/// Reads what `ldd` prints: `name => /path (address)`, or the loader's path alone.
fn parse_libraries(printed: &str) -> impl Iterator<Item = PathBuf> {
    let path = |line: &str| {
        let words = line.split_whitespace();
        words.map(PathBuf::from).find(|word| word.is_absolute())
    };
    printed.lines().filter_map(path)
}

fn create_parent(file: &Path) -> Result<()> {
    let parent = file.parent().context("a file in a folder")?;
    fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_are_read_from_what_ldd_prints() {
        let printed = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                       \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let libraries: Vec<_> = parse_libraries(printed).collect();
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(libraries, expected.map(PathBuf::from));
    }
}
