//! Objects that a command creates and deletes in a cluster.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{
    access::Cluster,
    connect::Error,
    error::{Reason, RequestError},
    request::{Connection, JSON, LONGEST_OBJECT},
};

/// Timeout of an answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Objects of a cluster, by their paths. Each call blocks until the server answers.
pub struct Objects {
    runtime: Runtime,
    connection: Connection,
    url: String,
}

impl Cluster {
    /// The objects of this cluster.
    pub fn objects(self) -> Objects {
        let Self { runtime, mut connection, url, .. } = self;
        connection.timing.response = PATIENCE;
        Objects { runtime, connection, url: url.to_string() }
    }
}

impl Objects {
    fn error(&self, error: &RequestError) -> Error {
        Error(format!("{}: {error}", self.url))
    }

    /// Creates an object in a collection, such as `/api/v1/namespaces`.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses the object.
    pub fn create(&self, collection: &str, object: &Value) -> Result<(), Error> {
        let created = self.connection.write("POST", collection, JSON, object);
        self.runtime.block_on(created).map(drop).map_err(|error| self.error(&error))
    }

    /// The object at a path; `None` if there is no such object.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses to return the object.
    pub fn get(&self, path: &str) -> Result<Option<Value>, Error> {
        let got = self.runtime.block_on(async {
            let text = self.connection.get(path).await?.text(LONGEST_OBJECT).await?;
            serde_json::from_slice(&text).map_err(RequestError::malformed)
        });
        match got {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.reason == Reason::NotFound => Ok(None),
            Err(error) => Err(self.error(&error)),
        }
    }

    /// The objects of a collection, with parameters such as a `labelSelector`.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses to list them.
    pub fn list(&self, collection: &str, parameters: &[(&str, &str)]) -> Result<Vec<Value>, Error> {
        let listed = self.runtime.block_on(self.connection.items(collection, parameters));
        listed.map_err(|error| self.error(&error))
    }

    /// Deletes the object at a path, if it exists, and its dependents.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses to delete the object.
    pub fn delete(&self, path: &str) -> Result<(), Error> {
        let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"});
        let deleted = self.connection.write("DELETE", path, JSON, &options);
        match self.runtime.block_on(deleted) {
            Err(error) if error.reason != Reason::NotFound => Err(self.error(&error)),
            _ => Ok(()),
        }
    }
}
