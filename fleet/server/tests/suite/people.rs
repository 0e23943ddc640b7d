//! Users, tokens, fleets, members, provisioning keys and the record of it all.

use reqwest::Method;
use serde_json::json;

use crate::gadget::next_year;
use crate::site::{Database, PASSWORD, Person, Site, on_both_databases};

on_both_databases! {
    async fn what_is_acknowledged_is_there_after_a_restart(site: Site) {
        let admin = site.admin().await;
        admin.ok(Method::POST, "/api/v1/fleets", Some(json!({"name": "harbour"}))).await;
        let token = admin.token.clone().unwrap();
        site.restart().await;
        let fleet = site.with_token(&token).ok(Method::GET, "/api/v1/fleets/harbour", None).await;
        assert_eq!(fleet["policy"]["follow"], "latest");
        assert_eq!(site.nobody().status(Method::GET, "/health/ready", None).await, 200);
    }

    async fn a_wrong_password_and_an_unknown_name_are_refused_alike(site: Site) {
        for login in [json!({"name": "admin", "password": "wrong"}), json!({"name": "nobody", "password": "wrong"})] {
            let (status, problem) = site.nobody().refused(Method::POST, "/api/v1/session", Some(login)).await;
            assert_eq!((status.as_u16(), problem["type"].as_str()), (401, Some("urn:lightship:problem:unauthorized")));
        }
    }

    async fn a_new_password_ends_the_sessions_that_the_old_one_opened(site: Site) {
        let user = site.user("mira").await;
        let wrong = json!({"password": "another password", "current_password": "not it at all"});
        let (_, problem) = user.refused(Method::PATCH, "/api/v1/users/mira", Some(wrong)).await;
        assert_eq!(problem["field"], "current_password");
        let right = json!({"password": "another password", "current_password": PASSWORD});
        user.ok(Method::PATCH, "/api/v1/users/mira", Some(right)).await;
        assert_eq!(user.status(Method::GET, "/api/v1/me", None).await, 401);
        let user = site.log_in("mira", "another password").await;
        assert_eq!(user.ok(Method::GET, "/api/v1/me", None).await["name"], "mira");
        user.ok(Method::DELETE, "/api/v1/session", None).await;
        assert_eq!(user.status(Method::GET, "/api/v1/me", None).await, 401);
    }

    async fn a_token_may_do_no_more_than_its_scopes_and_its_user(site: Site) {
        let mira = site.user("mira").await;
        for name in ["harbour", "ferry"] {
            mira.ok(Method::POST, "/api/v1/fleets", Some(json!({"name": name}))).await;
        }
        let make = |scopes: &[&str]| json!({"label": "ci", "scopes": scopes, "expires_at": next_year()});
        let (status, problem) = mira.refused(Method::POST, "/api/v1/tokens", Some(make(&["viewer", "admin"]))).await;
        assert_eq!((status.as_u16(), problem["field"].as_str()), (422, Some("scopes[1]")));
        let made = mira.ok(Method::POST, "/api/v1/tokens", Some(make(&["viewer:harbour"]))).await;
        let ci = site.with_token(made["secret"].as_str().unwrap());
        assert_eq!(ci.status(Method::GET, "/api/v1/fleets/harbour", None).await, 200);
        assert_eq!(ci.status(Method::GET, "/api/v1/fleets/ferry", None).await, 404);
        assert_eq!(ci.status(Method::DELETE, "/api/v1/fleets/harbour", None).await, 403);
        assert_eq!(ci.ok(Method::GET, "/api/v1/fleets", None).await.as_array().unwrap().len(), 1);
        let (_, problem) = ci.refused(Method::POST, "/api/v1/tokens", Some(make(&["viewer"]))).await;
        assert_eq!(problem["field"], "scopes[0]");
        let id = made["token"]["id"].as_str().unwrap();
        mira.ok(Method::DELETE, &format!("/api/v1/tokens/{id}"), None).await;
        assert_eq!(ci.status(Method::GET, "/api/v1/me", None).await, 401);
    }

    async fn a_fleet_of_others_does_not_exist(site: Site) {
        let (mira, jon) = (site.user("mira").await, site.user("jon").await);
        mira.ok(Method::POST, "/api/v1/fleets", Some(json!({"name": "harbour"}))).await;
        let theirs = jon.refused(Method::GET, "/api/v1/fleets/harbour", None).await;
        let absent = jon.refused(Method::GET, "/api/v1/fleets/nowhere", None).await;
        assert_eq!(theirs, absent);
        mira.ok(Method::PUT, "/api/v1/fleets/harbour/members/jon", Some(json!({"role": "viewer"}))).await;
        assert_eq!(jon.status(Method::GET, "/api/v1/fleets/harbour", None).await, 200);
        assert_eq!(jon.status(Method::PATCH, "/api/v1/fleets/harbour", Some(json!({}))).await, 403);
    }

    async fn a_fleet_keeps_an_owner_and_the_server_an_administrator(site: Site) {
        let mira = site.user("mira").await;
        mira.ok(Method::POST, "/api/v1/fleets", Some(json!({"name": "harbour"}))).await;
        let member = "/api/v1/fleets/harbour/members/mira";
        assert_eq!(mira.status(Method::DELETE, member, None).await, 409);
        assert_eq!(mira.status(Method::PUT, member, Some(json!({"role": "viewer"}))).await, 409);
        let admin = site.admin().await;
        assert_eq!(admin.status(Method::DELETE, "/api/v1/users/admin", None).await, 409);
        assert_eq!(admin.status(Method::PATCH, "/api/v1/users/admin", Some(json!({"admin": false}))).await, 409);
        assert_eq!(mira.status(Method::GET, "/api/v1/users", None).await, 403);
    }

    async fn every_change_is_recorded_with_who_and_when(site: Site) {
        let mira = site.user("mira").await;
        mira.ok(Method::POST, "/api/v1/fleets", Some(json!({"name": "harbour"}))).await;
        let new = json!({"label": "line 3", "max_uses": 2, "expires_at": next_year()});
        let made = mira.ok(Method::POST, "/api/v1/fleets/harbour/provisioning-keys", Some(new)).await;
        let id = made["key"]["id"].as_str().unwrap().to_owned();
        mira.ok(Method::DELETE, &format!("/api/v1/fleets/harbour/provisioning-keys/{id}"), None).await;
        let listed = mira.ok(Method::GET, "/api/v1/fleets/harbour/provisioning-keys", None).await;
        assert!(listed[0]["revoked_at"].is_string() && listed[0].get("secret").is_none());
        let page = mira.ok(Method::GET, "/api/v1/fleets/harbour/changes", None).await;
        let changes = page["changes"].as_array().unwrap();
        let told: Vec<_> = changes.iter().map(|change| change["what"].as_str().unwrap()).collect();
        assert_eq!(told, ["provisioning-key.revoked", "provisioning-key.created", "fleet.created"]);
        assert!(changes.iter().all(|change| change["by"] == "user:mira" && change["at"].is_string()));
        assert!(!page.to_string().contains(made["secret"].as_str().unwrap()));
        let first = mira.ok(Method::GET, "/api/v1/fleets/harbour/changes?limit=1", None).await;
        let rest = format!("/api/v1/fleets/harbour/changes?before={}", first["before"]);
        assert_eq!(mira.ok(Method::GET, &rest, None).await["changes"].as_array().unwrap().len(), 2);
    }

    async fn a_listener_hears_of_a_change_and_catches_up_on_what_it_missed(site: Site) {
        let admin = site.admin().await;
        admin.ok(Method::POST, "/api/v1/fleets", Some(json!({"name": "harbour"}))).await;
        let mut live = admin.request(Method::GET, "/api/v1/fleets/harbour/events").send().await.unwrap();
        let patch = json!({"description": "where ships are"});
        admin.ok(Method::PATCH, "/api/v1/fleets/harbour", Some(patch)).await;
        let heard = String::from_utf8(live.chunk().await.unwrap().unwrap().to_vec()).unwrap();
        assert!(heard.contains("fleet.updated"), "{heard}");
        let missed = admin.request(Method::GET, "/api/v1/fleets/harbour/events").header("last-event-id", "0");
        let mut missed = missed.send().await.unwrap();
        let mut text = String::new();
        while !text.contains("fleet.updated") {
            text += std::str::from_utf8(&missed.chunk().await.unwrap().unwrap()).unwrap();
        }
        assert!(text.find("fleet.created").unwrap() < text.find("fleet.updated").unwrap());
    }

    async fn a_stream_ends_with_the_right_to_hear_it(site: Site) {
        let mira = site.user("mira").await;
        let jon = site.user("jon").await;
        mira.ok(Method::POST, "/api/v1/fleets", Some(json!({"name": "harbour"}))).await;
        let member = "/api/v1/fleets/harbour/members/jon";
        mira.ok(Method::PUT, member, Some(json!({"role": "viewer"}))).await;
        let events = "/api/v1/fleets/harbour/events";
        let mut stream = jon.request(Method::GET, events).send().await.unwrap();
        mira.ok(Method::PATCH, "/api/v1/fleets/harbour", Some(json!({"description": "before"}))).await;
        Person::hears(&mut stream, "fleet.updated").await;
        mira.ok(Method::DELETE, member, None).await;
        mira.ok(Method::PATCH, "/api/v1/fleets/harbour", Some(json!({"description": "after"}))).await;
        assert_eq!(Person::hears_the_end(&mut stream).await, "", "nothing is told to who was taken out");
        let make = json!({"label": "ci", "scopes": ["viewer:harbour"], "expires_at": next_year()});
        let made = mira.ok(Method::POST, "/api/v1/tokens", Some(make)).await;
        let ci = site.with_token(made["secret"].as_str().unwrap());
        let mut stream = ci.request(Method::GET, events).send().await.unwrap();
        let id = made["token"]["id"].as_str().unwrap();
        mira.ok(Method::DELETE, &format!("/api/v1/tokens/{id}"), None).await;
        assert_eq!(Person::hears_the_end(&mut stream).await, "");
        let mut stream = mira.request(Method::GET, events).send().await.unwrap();
        site.admin().await.ok(Method::PATCH, "/api/v1/users/mira", Some(json!({"password": "set by an admin"}))).await;
        assert_eq!(Person::hears_the_end(&mut stream).await, "", "a new password ends sessions, and what they hear");
    }

    async fn a_malformed_request_is_refused_with_the_field_at_fault(site: Site) {
        let admin = site.admin().await;
        let bad = [
            (json!({"name": "Not A Name"}), 422, "name"),
            (json!({"name": "x", "extra": 1}), 422, "extra"),
            (json!({"name": "x", "description": "\u{1b}[2J"}), 422, "description"),
        ];
        for (body, status, field) in bad {
            let (was, problem) = admin.refused(Method::POST, "/api/v1/fleets", Some(body)).await;
            assert_eq!((was.as_u16(), problem["field"].as_str()), (status, Some(field)), "{problem}");
        }
assert_eq!(admin.refused(Method::GET, "/api/v1/nothing", None).await.0, 404);
        assert_eq!(admin.refused(Method::DELETE, "/api/v1/users", None).await.0, 405);
        let past = json!({"label": "x", "scopes": ["viewer"], "expires_at": "2001-01-01T00:00:00Z"});
        assert_eq!(admin.refused(Method::POST, "/api/v1/tokens", Some(past)).await.1["field"], "expires_at");
    }

    async fn a_body_beyond_the_limit_is_refused(database: Database) {
        let site = Site::start_with(database.0, |config| config.limits.body_bytes = 4096).await;
        let huge = json!({"name": "x", "description": "x".repeat(8192)});
        let (status, problem) = site
            .admin()
            .await
            .refused(Method::POST, "/api/v1/fleets", Some(huge))
            .await;
        assert_eq!(
            (status.as_u16(), problem["type"].as_str()),
            (413, Some("urn:lightship:problem:too-large"))
        );
    }

    async fn guessing_is_slowed_down(database: Database) {
        let site = Site::start_with(database.0, |config| config.limits.failures_per_minute = 3).await;
        let nobody = site.nobody();
        let guess = || {
            let login = json!({"name": "admin", "password": "guess"});
            nobody.status(Method::POST, "/api/v1/session", Some(login))
        };
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(guess().await);
        }
        assert_eq!(seen, [401, 401, 401, 429]);
    }
}
