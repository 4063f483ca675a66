//! `walletd check` and the settings.

use wallet_tests::{Database, Roles};

use crate::support::{output, with};

/// Runs `check` with the settings of a world, of which some are others.
fn check(settings: &[(String, String)], others: &[(&str, &str)]) -> (bool, String) {
    let mut given: Vec<(&str, &str)> = settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    given.extend_from_slice(others);
    let output = output(&["check"], &given);
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn the_roles_of_setup_sql_are_right() {
    with(|world| {
        let (is_right, text) = check(&world.settings, &[]);
        assert!(is_right, "{text}");
        assert!(
            !text.contains("wrong") && text.contains("reaches no wallet without a key"),
            "{text}"
        );
    });
}

#[test]
fn roles_with_too_many_or_too_few_rights_are_wrong() {
    with(|world| {
        let mut roles = Roles::new(world.database);
        let plain = roles.add("plain");
        let claimed = roles.add("claimed");
        let wide = roles.add("wide");
        world.sql(&format!(
            "SELECT wallet.grant_access('{claimed}', 'charger', claimed => true);
             SELECT wallet.grant_access('{wide}', 'charger');
             SELECT wallet.grant_access('{wide}', 'admin', 'acme', keyed => true)"
        ));
        let url = |role: &str| {
            let tenants = &world.settings[0].1;
            let user = tenants
                .split(' ')
                .find(|part| part.starts_with("user="))
                .unwrap();
            tenants.replace(user, &format!("user={role}"))
        };
        for (setting, role, told) in [
            ("WALLETD_DATABASE__TENANTS", "postgres", "superuser"),
            (
                "WALLETD_DATABASE__TENANTS",
                plain.as_str(),
                "may not call charge",
            ),
            ("WALLETD_DATABASE__TENANTS", wide.as_str(), "may call fund"),
            (
                "WALLETD_DATABASE__WORKER",
                plain.as_str(),
                "may not call claim_events",
            ),
            ("WALLETD_DATABASE__WORKER", wide.as_str(), "may call adjust"),
        ] {
            let (is_right, text) = check(&world.settings, &[(setting, &url(role))]);
            assert!(!is_right && text.contains(told), "{role}: {text}");
        }
        world.sql(&format!(
            "SELECT wallet.revoke_access('{wide}', 'admin', 'acme')"
        ));
        let (is_right, text) = check(
            &world.settings,
            &[("WALLETD_DATABASE__TENANTS", &url(&wide))],
        );
        assert!(
            !is_right && text.contains("reaches wallets without a key"),
            "{text}"
        );
    });
}

#[test]
fn a_database_that_cannot_serve_is_wrong() {
    let empty = Database::empty();
    with(|world| {
        let name = format!("dbname={}", world.database.name());
        let other = world.settings[0]
            .1
            .replace(&name, &format!("dbname={}", empty.name()));
        let (is_right, text) = check(&world.settings, &[("WALLETD_DATABASE__TENANTS", &other)]);
        assert!(
            !is_right && text.contains("CREATE EXTENSION wallet"),
            "{text}"
        );
        let none = world.settings[0]
            .1
            .replace(&name, "dbname=no_such_database");
        let (is_right, text) = check(&world.settings, &[("WALLETD_DATABASE__TENANTS", &none)]);
        assert!(!is_right && text.contains("no_such_database"), "{text}");
        let closed = "host=127.0.0.1 port=1 user=x";
        let (is_right, text) = check(&world.settings, &[("WALLETD_DATABASE__WORKER", closed)]);
        assert!(!is_right && text.contains("refused"), "{text}");
    });
}

#[test]
fn settings_that_cannot_work_are_told_by_name() {
    with(|world| {
        for (name, value, told) in [
            ("WALLETD_HTTP__LISTEN", "everywhere", "http.listen"),
            ("WALLETD_HTTP__TIMEOUT", "3s", "http.timeout must be longer"),
            ("WALLETD_HTTP__TIMOUT", "3s", "timout"),
            (
                "WALLETD_DATABASE__TENANTS",
                "",
                "database.tenants is missing",
            ),
            (
                "WALLETD_DATABASE__TENANTS_POOL",
                "0",
                "database.tenants_pool must be at least 1",
            ),
            (
                "WALLETD_OPS__LISTEN",
                "127.0.0.1:8080",
                "ops.listen must differ",
            ),
            ("WALLETD_LOG__FORMAT", "xml", "log.format"),
            (
                "WALLETD_CONFIG",
                "/nonexistent/walletd.toml",
                "/nonexistent/walletd.toml",
            ),
        ] {
            let (is_right, text) = check(&world.settings, &[(name, value)]);
            let told = text.to_lowercase().contains(told);
            assert!(!is_right && told, "{name}: {text}");
        }
        let short = format!("{} password=short", world.settings[0].1);
        let (is_right, text) = check(&world.settings, &[("WALLETD_DATABASE__TENANTS", &short)]);
        assert!(
            is_right && text.contains("less than 16 characters"),
            "{text}"
        );
    });
}

#[test]
fn no_error_of_the_settings_has_a_secret() {
    with(|world| {
        for (name, value) in [
            ("WALLETD_MAIL__PASSWORD", "7777777777777777"),
            ("WALLETD_MAIL__PASSWORD", "-7777777777777777"),
            ("WALLETD_MAIL__PASSWORD", "7777777777777777.5"),
            ("WALLETD_MAIL__PASSWORD", "[\"7777777777777777\"]"),
            ("WALLETD_MAIL__PASSWORD", "{a=\"7777777777777777\"}"),
            ("WALLETD_DATABASE__WORKER", "7777777777777777"),
            ("WALLETD_PAGE__SECRETS", "7777777777777777"),
            ("WALLETD_PAGE__SECRETS", "[7777777777777777]"),
            ("WALLETD_PAYMENTS__STRIPE__SECRET_KEY", "7777777777777777"),
            (
                "WALLETD_PAYMENTS__STRIPE__WEBHOOK_SECRETS",
                "{a=7777777777777777}",
            ),
        ] {
            let (is_right, text) = check(&world.settings, &[(name, value)]);
            assert!(
                !is_right && text.contains("put it in quotes"),
                "{name}: {text}"
            );
            assert!(!text.contains("7777"), "{name}: {text}");
        }
        // A secret alone is a list of one.
        let (is_right, text) = check(
            &world.settings,
            &[("WALLETD_PAGE__SECRETS", crate::support::SECRET)],
        );
        assert!(is_right, "{text}");
        let file = std::env::temp_dir().join(format!("{}-broken.toml", world.database.name()));
        let text = "[mail]\npassword = \"hunter2hunter2\n";
        std::fs::write(&file, text).unwrap();
        let path = file.to_str().unwrap();
        let output = output(&["check"], &[("WALLETD_CONFIG", path)]);
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(
            !output.status.success() && text.contains("line 2"),
            "{text}"
        );
        assert!(!text.contains("hunter2"), "{text}");
        std::fs::remove_file(file).unwrap();
    });
}

#[test]
fn the_role_of_the_page_is_looked_at() {
    with(|world| {
        let (_, text) = check(&world.settings, &[]);
        for told in [
            "ok: page.database connected as",
            "ok: page.database reaches no wallet without a key",
        ] {
            assert!(text.contains(told), "{text}");
        }
        let mut roles = Roles::new(world.database);
        let (plain, wide) = (roles.add("plain_page"), roles.add("wide_page"));
        world.sql(&format!("SELECT wallet.grant_access('{wide}', 'admin')"));
        let tenants = &world.settings[0].1;
        let url = |role: &str| {
            let mut parts: Vec<String> = tenants.split(' ').map(str::to_owned).collect();
            for part in &mut parts {
                if part.starts_with("user=") {
                    *part = format!("user={role}");
                }
            }
            parts.join(" ")
        };
        for (role, told) in [
            ("postgres", "superuser"),
            (plain.as_str(), "may not call key_owner"),
            (wide.as_str(), "reaches wallets without a key"),
        ] {
            let given = [("WALLETD_PAGE__DATABASE", url(role))];
            let given = given
                .each_ref()
                .map(|(name, value)| (*name, value.as_str()));
            let (is_right, text) = check(&world.settings, &given);
            let line = text
                .lines()
                .find(|line| line.contains(told))
                .unwrap_or_default();
            assert!(
                !is_right && line.starts_with("wrong: page.database"),
                "{role}: {text}"
            );
        }
    });
}

#[test]
fn a_file_is_read_and_the_environment_overrides_it() {
    with(|world| {
        let path = std::env::temp_dir().join(format!("{}.toml", world.database.name()));
        let text = format!(
            "[database]\ntenants = \"{}\"\nworker = \"user=wrong\"\n[log]\nformat = \"text\"\n",
            world.settings[0].1
        );
        std::fs::write(&path, text).unwrap();
        let worker = ("WALLETD_DATABASE__WORKER", world.settings[1].1.as_str());
        let output = output(&["check", "--config", path.to_str().unwrap()], &[worker]);
        std::fs::remove_file(&path).unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    });
}
