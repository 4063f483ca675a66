//! How the cost of every public function and view grows with the data of a wallet, and with the
//! data of other wallets.
//!
//! `make bench-growth` measures times at three sizes, with old and with fresh statistics. The form
//! in `make test` counts pages at two small sizes. The test fails, naming the function or view, if
//! it has no entry in `scenes/` or if a call grows faster than its entry allows.

mod catalog;
mod measure;
mod place;
mod scene;
mod scenes;
mod table;

use std::collections::BTreeSet;

use measure::Measure;
use place::{Place, Statistics};
use scene::{Call, Scene};
use table::{Line, Table};
use wallet_tests::Database;

/// Whether this is the long form, which measures times.
fn is_long() -> bool {
    std::env::var("WALLET_GROWTH").is_ok_and(|form| form == "long")
}

/// Selects scenes by name: `WALLET_GROWTH_SCENES=archive,lots`.
fn wanted(scene: &Scene) -> bool {
    std::env::var("WALLET_GROWTH_SCENES").map_or(true, |names| {
        names.split(',').any(|name| name == scene.name)
    })
}

#[test]
fn every_function_and_view_has_an_entry() {
    let database = Database::new();
    let public = catalog::public(&mut database.connect());
    let calls: Vec<Call> = scenes::all().flat_map(Scene::all_calls).collect();
    let measured: BTreeSet<String> = calls.iter().map(|call| call.of.to_owned()).collect();
    let missing: Vec<&String> = public.difference(&measured).collect();
    assert!(
        missing.is_empty(),
        "without an entry in tests/growth/scenes: {missing:?}"
    );
    let titles: Vec<String> = scenes::all().flat_map(Scene::unknown_titles).collect();
    assert!(titles.is_empty(), "listed and not measured: {titles:?}");
    let unknown: Vec<&String> = measured.difference(&public).collect();
    assert!(
        unknown.is_empty(),
        "tests/growth/scenes measures what no level may use: {unknown:?}"
    );
}

/// Measures a call at every size.
fn line(
    places: &mut [Place],
    scene: &'static Scene,
    call: &Call,
    measure: Measure,
    statistics: Statistics,
) -> Line {
    let mut costs: Vec<f64> = places
        .iter_mut()
        .map(|place| place.cost(call, measure))
        .collect();
    let exponent = |costs: &[f64]| match costs {
        [.., small, large] => measure.exponent(*small, *large),
        _ => 0.0,
    };
    // Other work on the machine makes a call slower, never faster.
    for _ in 0..2 {
        if measure == Measure::Pages || exponent(&costs) <= call.allowed || scene.is_pending(call) {
            break;
        }
        for (place, cost) in places.iter_mut().zip(&mut costs) {
            *cost = cost.min(place.cost(call, measure));
        }
    }
    let exponent = exponent(&costs);
    Line {
        scene: scene.name,
        call: *call,
        pending: scene.is_pending(call),
        statistics,
        costs,
        exponent,
    }
}

#[test]
fn no_call_grows_faster_than_allowed() {
    let (measure, sizes): (_, &[usize]) = match is_long() {
        true => (Measure::Time, &[1, 4, 16]),
        false => (Measure::Pages, &[1, 4]),
    };
    let template = place::template();
    let mut table = Table::new(measure, sizes);
    for scene in scenes::all().filter(|scene| wanted(scene)) {
        let size = if is_long() { scene.size } else { scene.short };
        let mut places: Vec<Place> = sizes
            .iter()
            .map(|times| Place::new(&template, scene, size * times))
            .collect();
        let calls = scene.all_calls();
        for call in &calls {
            table.add(line(&mut places, scene, call, measure, Statistics::Old));
        }
        if is_long() {
            places.iter_mut().for_each(Place::analyze);
            // Everyday calls look up single rows.
            for call in scene.calls {
                table.add(line(&mut places, scene, call, measure, Statistics::Fresh));
            }
        }
    }
    table.finish();
}
