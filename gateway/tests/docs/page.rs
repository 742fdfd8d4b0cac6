//! A Markdown page: the examples, tables and diagrams in it.

use std::fs;
use std::path::PathBuf;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A page of the documentation.
pub(crate) struct Page {
    pub(crate) name: String,
    text: String,
}

/// A fenced block.
pub(crate) struct Block {
    /// `page:line` of its first line, for messages.
    pub(crate) place: String,
    pub(crate) text: String,
}

impl Page {
    /// The pages for users.
    pub(crate) fn all() -> Vec<Self> {
        let names = fs::read_dir(root().join("docs")).unwrap();
        let mut names: Vec<_> = names
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
            .filter_map(|path| Some(format!("docs/{}", path.file_name()?.to_str()?)))
            .chain(["README.md".to_owned()])
            .collect();
        names.sort();
        names.iter().map(|name| Self::read(name)).collect()
    }

    /// Reads a page by its path from the root of the repository.
    pub(crate) fn read(name: &str) -> Self {
        let text =
            fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self {
            name: name.to_owned(),
            text,
        }
    }

    /// The fenced blocks whose opening line says exactly this after the backticks.
    pub(crate) fn blocks(&self, info: &str) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<(bool, Block)> = None;
        for (index, line) in self.text.lines().enumerate() {
            match (&mut open, line.strip_prefix("```")) {
                (None, Some(opened)) => {
                    let place = format!("{}:{}", self.name, index + 2);
                    let text = String::new();
                    open = Some((opened.trim() == info, Block { place, text }));
                }
                (Some(_), Some("")) => {
                    blocks.extend(
                        open.take()
                            .filter(|(wanted, _)| *wanted)
                            .map(|(_, block)| block),
                    );
                }
                (Some((_, block)), _) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
                (None, None) => {}
            }
        }
        blocks
    }

    /// The cells of the table under a heading, without its head.
    pub(crate) fn table(&self, heading: &str) -> Vec<Vec<String>> {
        let rows = self
            .text
            .lines()
            .skip_while(|line| {
                line.trim_start_matches('#').trim() != heading || !line.starts_with('#')
            })
            .skip_while(|line| !line.starts_with('|'))
            .take_while(|line| line.starts_with('|'))
            .skip(2);
        let cells = |row: &str| {
            let inside = row.trim().trim_start_matches('|').trim_end_matches('|');
            inside
                .split(" | ")
                .map(|cell| cell.trim().to_owned())
                .collect()
        };
        let table: Vec<Vec<String>> = rows.map(cells).collect();
        assert!(
            !table.is_empty(),
            "{}: no table under “{heading}”",
            self.name
        );
        table
    }
}

/// What stands in backticks in a cell.
pub(crate) fn code_words(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}
