//! The Lua scripts of `lua/`, each with the digest by which Redis knows it. What a script takes and gives stands at its head.

use std::sync::LazyLock;

use redis::{Cmd, ToRedisArgs};

/// A script and its digest.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) code: &'static str,
    digest: String,
}

impl Script {
    fn new(code: &'static str) -> Self {
        Self {
            code,
            digest: redis::Script::new(code).get_hash().to_owned(),
        }
    }

    /// Begins a call with the script's keys; arguments follow.
    pub(super) fn on<K: ToRedisArgs>(&self, keys: &[K]) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.digest).arg(keys.len());
        for key in keys {
            command.arg(key);
        }
        command
    }
}

macro_rules! scripts {
    ($($name:ident = $($file:literal)+;)*) => {
        $(pub(super) static $name: LazyLock<Script> = LazyLock::new(|| Script::new(concat!($(include_str!(concat!("../../lua/", $file))),+)));)*
    };
}

scripts! {
    DELETE = "delete.lua";
    JOIN = "join.lua";
    LEASE = "lease.lua";
    LEAVE = "leave.lua";
    MEMBERS = "members.lua";
    OPEN = "open.lua";
    PEEK = "peek.lua";
    PUBLISH = "publish.lua";
    PUBLISH_FULL = "publish_full.lua";
    READ = "trim.lua" "read.lua";
    SWEEP = "sweep.lua";
    TEND = "trim.lua" "tend.lua";
    USER = "user.lua";
}
