//! The documentation against the gateway: its examples run, its schemas fit what is sent, its tables are the code's.
//!
//! [`page`] finds the examples in a page, [`conversation`] and [`console`] play them against a gateway of [`gateway`], and
//! [`bindings`] compares what came with what the page shows. [`schemas`] reads `docs/asyncapi.yaml`, [`frames`] holds what the
//! encoder makes to it; [`agreement`] compares lists.

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod bindings;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod console;
#[cfg(test)]
mod conversation;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod gateway;
#[cfg(test)]
#[path = "../shared/json_schema.rs"]
mod json_schema;
#[cfg(test)]
mod page;
#[cfg(test)]
mod schemas;
#[cfg(test)]
mod script;

#[cfg(test)]
mod examples {
    use crate::page::Page;
    use crate::{console, conversation};

    #[tokio::test]
    async fn the_pages_say_what_happens() {
        for page in Page::all() {
            let played = conversation::play_all(&page).await + console::run_all(&page).await;
            assert!(
                played > 0 || page.name != "docs/protocol.md",
                "no example ran"
            );
        }
    }
}
