//! Drift that an apply alone can't repair: lists whose entries are merged by key. Where somebody changed a port's number, the
//! applied port is added beside theirs, and the API server refuses two ports of one name.
//!
//! Then the lists are overwritten as a whole by a merge patch. That patch would own its fields for ever, so that a port that
//! is later taken out of the spec would stay: its ownership is dropped again right after.

use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

/// Field manager of the patch, which owns nothing once the repair is done.
const MANAGER: &str = "rotunda-repair";

/// Whether the API server found the merged object invalid.
pub(super) fn may_help(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 422)
}

/// Makes the object's lists those of `body`. Returns whether that worked; an object that is wrong in itself is refused again,
/// and then the first refusal tells more.
pub(super) async fn overwrite<K>(api: &Api<K>, name: &str, body: &(impl Serialize + Debug)) -> bool
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patched = match api.patch(name, &params, &Patch::Merge(body)).await {
        Ok(patched) => patched,
        Err(error) => {
            tracing::debug!(name, %error, "overwriting did not help");
            return false;
        }
    };
    let disown = json!({ "metadata": {
        "resourceVersion": patched.resource_version(),
        "managedFields": without_repair(patched.managed_fields()),
    } });
    if let Err(error) = api.patch(name, &params, &Patch::Merge(disown)).await {
        tracing::warn!(name, %error, "could not give up the fields of a repair");
    }
    true
}

fn without_repair(entries: &[ManagedFieldsEntry]) -> Vec<&ManagedFieldsEntry> {
    entries
        .iter()
        .filter(|entry| entry.manager.as_deref() != Some(MANAGER))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repair_gives_up_what_it_wrote_and_nothing_else() {
        let entry = |manager: &str| ManagedFieldsEntry {
            manager: Some(manager.to_owned()),
            ..ManagedFieldsEntry::default()
        };
        let entries = [
            entry("rotunda-operator"),
            entry(MANAGER),
            entry("kubectl-edit"),
        ];
        let left = without_repair(&entries);
        assert_eq!(left, [&entries[0], &entries[2]]);
    }
}
