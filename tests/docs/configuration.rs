//! docs/high-availability.md quotes the files that `make test-ha` runs.

use crate::page::{Page, path_of};

#[test]
fn the_configuration_of_the_page_is_that_of_the_test() {
    let page = Page::read("docs/high-availability.md");
    let mut quoted = 0;
    for (language, lines) in page.fences() {
        let file = match language {
            "yaml" => "patroni.yml",
            "ini" => "haproxy.cfg",
            _ => continue,
        };
        let path = path_of("examples/high-availability").join(file);
        let text = std::fs::read_to_string(path).expect("a file");
        let block = page.lines[lines].join("\n");
        assert!(text.contains(&block), "not in {file}:\n{block}");
        quoted += 1;
    }
    assert_eq!(quoted, 2);
}
