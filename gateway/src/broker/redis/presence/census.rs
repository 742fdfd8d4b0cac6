//! Who is in a room and who is online: what Redis says, less the members of dead gateways.

use rotunda_crds::RoomName;

use super::super::super::{BrokerError, Member, Members, UserPresence};
use super::super::Engine;
use super::super::call::{Call, Repeat};
use super::super::keys::slot;
use super::super::scripts::MEMBERS;
use super::super::wire::{array, list, number, text};
use crate::ids::UserId;

/// Up to this number of members all are read and counted.
const COUNTED: u64 = 2000;

impl Engine {
    pub(in crate::broker::redis) async fn members(
        &self,
        room: &RoomName,
        limit: usize,
    ) -> Result<Members, BrokerError> {
        let mut command = MEMBERS.on(&[self.keys.here(room)]);
        command.arg(COUNTED).arg(limit);
        let call = Call::of(self.keys.slot(room), &command, &MEMBERS);
        let [fields, pairs] = array(self.pool.call(call).await?)?;
        let (roster, fields) = (self.lease.roster(), number(&fields)?);
        let mut users = Vec::new();
        let mut dead = false;
        for pair in list(pairs)?.chunks_exact(2) {
            let (name, gateways) = (text(&pair[0])?, text(&pair[1])?);
            // The empty field counts announcements.
            let Ok(user) = UserId::parse(name) else {
                continue;
            };
            let mut gateways = gateways
                .split(' ')
                .filter_map(|gateway| gateway.split('=').next());
            if gateways.any(|gateway| roster.died(gateway, self.presence.ttl()).is_none()) {
                users.push(user);
            } else {
                dead = true;
            }
        }
        if dead {
            self.presence.locals.lock().unswept.insert(room.clone());
        }
        users.sort_unstable();
        users.dedup();
        let count = if fields <= COUNTED {
            users.len() as u64
        } else {
            fields - 1
        };
        let members = users
            .into_iter()
            .take(limit)
            .map(|user| Member { user })
            .collect();
        Ok(Members { members, count })
    }

    pub(in crate::broker::redis) async fn user_presence(
        &self,
        user: &UserId,
    ) -> Result<UserPresence, BrokerError> {
        let key = self.keys.user(user);
        let mut command = redis::cmd("HGETALL");
        command.arg(&key);
        let call = Call {
            slot: slot(&key),
            command: &command,
            script: None,
            repeat: Repeat::Safe,
            replicated: None,
            history: None,
        };
        let fields = list(self.pool.call(call).await?)?;
        let roster = self.lease.roster();
        let mut presence = UserPresence {
            online: false,
            last_seen_ms: None,
        };
        for pair in fields.chunks_exact(2) {
            let field = text(&pair[0])?;
            let seen = if field == "seen" {
                Some(number(&pair[1])?)
            } else {
                roster.died(field, self.presence.ttl())
            };
            presence.online |= seen.is_none();
            presence.last_seen_ms = presence.last_seen_ms.max(seen);
        }
        Ok(presence)
    }
}
