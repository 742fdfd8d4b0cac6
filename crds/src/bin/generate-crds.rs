//! Writes the CRD manifests and their reference from the Rust types; with `--check` says whether they are up to date.

use std::{fs, path::Path, process::ExitCode};

use rotunda_crds::schema::{Kind, manifest, reference};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let check = match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [] => false,
        ["--check"] => true,
        _ => {
            eprintln!("usage: generate-crds [--check]");
            return ExitCode::from(2);
        }
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate is in the repository");
    let mut failed = false;
    for (path, wanted) in files() {
        let file = root.join(&path);
        let result = if check {
            compare(&file, &wanted)
        } else {
            write(&file, &wanted)
        };
        if let Err(message) = result {
            eprintln!("{path}: {message}");
            failed = true;
        }
    }
    if failed && check {
        eprintln!("run `cargo run -p rotunda-crds --bin generate-crds` and commit what it writes");
    }
    ExitCode::from(u8::from(failed))
}

fn files() -> Vec<(String, String)> {
    let mut files = vec![("docs/crd-reference.md".to_owned(), reference())];
    for kind in Kind::ALL {
        let yaml = manifest(kind);
        for folder in ["crds/manifests", "charts/rotunda/files/crds"] {
            files.push((format!("{folder}/{}.yaml", kind.crd_name()), yaml.clone()));
        }
    }
    files
}

fn write(file: &Path, wanted: &str) -> Result<(), String> {
    let folder = file.parent().expect("a file in a folder");
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(file, wanted))
        .map_err(|error| error.to_string())
}

fn compare(file: &Path, wanted: &str) -> Result<(), String> {
    let found = fs::read_to_string(file).map_err(|error| format!("is stale: {error}"))?;
    if found == wanted {
        return Ok(());
    }
    let mut lines = found.lines().zip(wanted.lines()).enumerate();
    let (number, found_line, wanted_line) = lines
        .find(|(_, (found, wanted))| found != wanted)
        .map_or_else(
            || {
                (
                    found.lines().count().min(wanted.lines().count()) + 1,
                    "(another length)",
                    "(another length)",
                )
            },
            |(index, (found, wanted))| (index + 1, found, wanted),
        );
    Err(format!(
        "is stale, first in line {number}:\n  - {found_line}\n  + {wanted_line}"
    ))
}
