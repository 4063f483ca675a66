//! Tests of the settings.

use super::*;

#[test]
fn the_debug_form_of_the_settings_has_no_secret() {
    let mut config = Config::default();
    config.database.tenants = Secret::new("postgres://a:hunter2hunter2@h/d".to_owned());
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_size_and_a_span_are_read_as_people_write_them() {
    let read = |text: &str| -> Result<Config, Box<figment::Error>> {
        let figment = Figment::from(Serialized::defaults(Config::default()));
        figment
            .merge(Toml::string(text))
            .extract()
            .map_err(Box::new)
    };
    let config = read("[http]\nbody_limit = \"1 MiB\"\ntimeout = \"1m 30s\"").unwrap();
    assert_eq!(config.http.body_limit.bytes(), 1024 * 1024);
    assert_eq!(config.http.timeout, Span::seconds(90));
    assert_eq!(
        read("[http]\nbody_limit = 77")
            .unwrap()
            .http
            .body_limit
            .bytes(),
        77
    );
    for (text, what) in [
        ("[http]\nbody_limit = \"many\"", "is not a size"),
        ("[http]\ntimeout = \"soon\"", "is not a duration"),
        ("[http]\ntrusted_proxies = [\"10.0.0.0/99\"]", "invalid IP"),
        ("[http]\nlissten = \"127.0.0.1:1\"", "unknown field"),
        ("[log]\nlevel = \"loud\"", "unknown variant"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(what), "{text}: {error}");
    }
}

#[test]
fn settings_that_contradict_each_other_are_found() {
    let mut config = Config::default();
    config.database.tenants = Secret::new("host=/tmp user=a password=short".to_owned());
    config.database.worker = Secret::new("host=/tmp user=b".to_owned());
    config.http.timeout = Span::seconds(7);
    config.ops.listen = SocketAddr::from(([0, 0, 0, 0], 9464));
    let found: Vec<_> = problems(&config)
        .iter()
        .map(|p| (p.setting, p.is_fatal))
        .collect();
    assert_eq!(
        found,
        [
            ("database.tenants", false),
            ("http.timeout", true),
            ("ops.listen", false),
        ]
    );
    config.http.timeout = Span::seconds(8);
    config.ops = Ops::default();
    config.database.tenants = Secret::new("host=/tmp user=a password=longlonglonglong".to_owned());
    assert_eq!(problems(&config), []);
}
