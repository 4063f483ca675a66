//! A browser without JavaScript: it keeps the cookie and sends forms with the token of the page.

use std::net::SocketAddr;

use regex::Regex;

use super::{Answer, Client};

/// A person at the page.
#[derive(Clone)]
pub struct Visitor {
    client: Client,
    /// The cookie, as it is sent.
    pub cookie: String,
    /// The token of the last page.
    pub token: String,
}

impl Visitor {
    /// Somebody who opened the page and is not signed in.
    pub fn new(address: SocketAddr) -> Visitor {
        let mut visitor = Visitor {
            client: Client::new(address, None),
            cookie: String::new(),
            token: String::new(),
        };
        visitor.get("/").expect(200);
        visitor
    }

    /// Somebody who signed in with a key.
    pub fn with_key(address: SocketAddr, key: &str) -> Visitor {
        let mut visitor = Visitor::new(address);
        visitor.post("/sign-in", &[("key", key)]).expect(303);
        visitor.get("/").expect(200);
        visitor
    }

    /// Opens a page. A redirection is not followed.
    pub fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[], None)
    }

    /// Sends a form with the token.
    pub fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let mut all = vec![("token".to_owned(), self.token.clone())];
        all.extend(
            fields
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned())),
        );
        self.post_as(path, &all, &[])
    }

    /// Sends a form as it is, with these headers.
    pub fn post_as(
        &mut self,
        path: &str,
        fields: &[(String, String)],
        headers: &[(&str, &str)],
    ) -> Answer {
        let body = serde_urlencoded::to_string(fields).unwrap();
        let mut all = vec![("content-type", "application/x-www-form-urlencoded")];
        all.extend_from_slice(headers);
        self.send("POST", path, &all, Some(&body))
    }

    fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Answer {
        let cookie = self.cookie.clone();
        let mut all = headers.to_vec();
        if !cookie.is_empty() {
            all.push(("cookie", &cookie));
        }
        let answer = self.client.send(method, path, &all, body);
        if let Some(set) = answer.header("set-cookie") {
            self.cookie = set.split(';').next().unwrap_or_default().to_owned();
        }
        let token = Regex::new("name=\"token\" value=\"([0-9a-f]+)\"").unwrap();
        if let Some(found) = token.captures(&answer.text) {
            found[1].clone_into(&mut self.token);
        }
        answer
    }
}
