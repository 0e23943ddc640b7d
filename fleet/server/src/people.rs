//! Passwords: hashed off the request threads, a few at a time.

use lightship_api::{Login, Name, User};

use crate::db::{self, Entry};
use crate::http::failure::{Answer, Failure};
use crate::{App, clock, folder, secret};

impl App {
    /// Who logs in, and whether they administer the server; takes as long for a name that does
    /// not exist as for a wrong password.
    pub(crate) async fn log_in(&self, login: Login) -> Answer<Option<(Name, bool)>> {
        let known = db::users::find(&self.db, &login.name).await?;
        let (user, hash) = match known {
            Some((user, hash)) => (Some(user), hash),
            // The hash of a password that nobody can have.
            None => (None, self.secrets.decoy()),
        };
        let right = self.password_matches(login.password, hash).await?;
        Ok(user.filter(|_| right).map(|user| (user.name, user.admin)))
    }

    /// What is kept of a password.
    pub(crate) async fn hash_password(&self, password: String) -> Answer<String> {
        let secrets = self.secrets.clone();
        self.hashing(move || secrets.hash_password(&password)).await
    }

    /// Whether this is the password that `hash` was kept of.
    pub(crate) async fn password_matches(&self, password: String, hash: String) -> Answer<bool> {
        let secrets = self.secrets.clone();
        self.hashing(move || secrets.password_matches(&password, &hash))
            .await
    }

    async fn hashing<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Answer<T> {
        let _place = self.hashing.acquire().await.map_err(Failure::internal)?;
        tokio::task::spawn_blocking(work)
            .await
            .map_err(Failure::internal)
    }

    /// Makes the first administrator when there is no user at all.
    pub(crate) async fn first_admin(&self) -> Answer<()> {
        let admin = &self.config.admin;
        let name: Name = admin
            .name
            .parse()
            .map_err(|_| Failure::invalid("admin.name", "not a name"))?;
        let path = self.config.data.join("admin-password");
        let mut tx = self.db.write().await?;
        if !db::users::is_empty(&mut tx).await? {
            return Ok(());
        }
        let password = match &admin.password {
            Some(password) => password.clone(),
            // Written before the user is stored: a user whose password nobody knows is of no use.
            None => {
                let made = folder::keep(&path, || hex::encode(secret::random::<12>()).into_bytes());
                let made = made.map_err(Failure::internal)?;
                tracing::info!(path = %path.display(), user = %name, "made the first administrator");
                String::from_utf8(made).map_err(Failure::internal)?
            }
        };
        let password = self.hash_password(password.trim().to_owned()).await?;
        let user = User {
            name,
            admin: true,
            created_at: clock::now(),
        };
        db::users::insert(&mut tx, &user, &password).await?;
        let subject = user.name.as_str();
        tx.record(Entry {
            by: "server",
            fleet: None,
            what: "user.created",
            subject,
            detail: "first administrator".to_owned(),
        })
        .await?;
        Ok(tx.commit().await?)
    }
}
