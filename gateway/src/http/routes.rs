//! The paths of a port, in a table that can be read: what is served and what the OpenAPI document says are held against each other by it.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};

use super::Port;

/// One thing that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The path, with its parameters in braces.
    pub path: &'static str,
    /// In upper case.
    pub method: &'static str,
}

/// A router that remembers its routes.
#[derive(Debug, Default)]
pub struct Routes {
    router: Router<Port>,
    table: Vec<Route>,
}

impl Routes {
    /// What `GET` gives.
    #[must_use]
    pub fn get<H, T>(self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Port>,
        T: 'static,
    {
        self.add(MethodFilter::GET, "GET", path, handler)
    }

    /// What `POST` does.
    #[must_use]
    pub fn post<H, T>(self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Port>,
        T: 'static,
    {
        self.add(MethodFilter::POST, "POST", path, handler)
    }

    /// What `DELETE` takes away.
    #[must_use]
    pub fn delete<H, T>(self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Port>,
        T: 'static,
    {
        self.add(MethodFilter::DELETE, "DELETE", path, handler)
    }

    fn add<H, T>(
        mut self,
        filter: MethodFilter,
        method: &'static str,
        path: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Port>,
        T: 'static,
    {
        self.router = self.router.route(path, on(filter, handler));
        self.table.push(Route { path, method });
        self
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.table.extend(other.table);
        self
    }

    /// All routes, in order.
    pub fn table(&self) -> Vec<Route> {
        let mut table = self.table.clone();
        table.sort_unstable();
        table
    }

    pub(super) fn with(self, port: Port) -> Router {
        self.router.with_state(port)
    }
}
