//! A chart of bars as SVG. Its colours come from the style sheet, for light and dark.

use maud::{Markup, PreEscaped, html};
use plotters::prelude::*;

/// The style sheet replaces these by colours of its own.
const SPENT: RGBColor = RGBColor(1, 1, 1);
const EXPECTED: RGBColor = RGBColor(2, 2, 2);
const LINES: RGBColor = RGBColor(3, 3, 3);
const SIZE: (u32, u32) = (900, 260);

/// A bar.
pub struct Bar {
    label: String,
    /// The height on the screen. The exact amount is in the table next to the chart.
    height: f64,
    is_expected: bool,
}

impl Bar {
    /// An amount that was spent.
    pub fn spent(label: &str, amount: &str) -> Bar {
        Bar {
            label: label.to_owned(),
            height: amount.parse().unwrap_or_default(),
            is_expected: false,
        }
    }

    /// An amount that is expected.
    pub fn expected(label: &str, amount: &str) -> Bar {
        Bar {
            is_expected: true,
            ..Bar::spent(label, amount)
        }
    }
}

/// The chart, with a name and a description for those who do not see it.
pub fn bars(id: &str, title: &str, description: &str, bars: &[Bar]) -> Markup {
    let mut svg = String::new();
    if bars.is_empty() || draw(&mut svg, bars).is_err() {
        return html! {};
    }
    // The library's own first tag has a size in pixels and no name.
    let inner = svg
        .split_once("<svg")
        .and_then(|(_, rest)| rest.split_once('>'));
    let Some((_, inner)) = inner else {
        return html! {};
    };
    html! {
        svg.chart role="img" viewBox=(format!("0 0 {} {}", SIZE.0, SIZE.1))
            aria-labelledby={ (id) "-title " (id) "-text" } {
            title id={ (id) "-title" } { (title) }
            desc id={ (id) "-text" } { (description) }
            (PreEscaped(inner.trim_end().trim_end_matches("</svg>")))
        }
    }
}

fn draw(svg: &mut String, bars: &[Bar]) -> Result<(), Box<dyn std::error::Error>> {
    let top = bars.iter().map(|bar| bar.height).fold(0.0, f64::max);
    let top = if top > 0.0 { top * 1.08 } else { 1.0 };
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let count = i32::try_from(bars.len())?;
    let mut chart = ChartBuilder::on(&area)
        .margin(6)
        .x_label_area_size(26)
        .y_label_area_size(64)
        .build_cartesian_2d((0..count - 1).into_segmented(), 0.0..top)?;
    let label = |segment: &SegmentValue<i32>| match segment {
        SegmentValue::CenterOf(place) | SegmentValue::Exact(place) => {
            let bar = usize::try_from(*place)
                .ok()
                .and_then(|place| bars.get(place));
            bar.map_or_else(String::new, |bar| bar.label.clone())
        }
        SegmentValue::Last => String::new(),
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(LINES)
        .axis_style(LINES)
        .label_style(("sans-serif", 13).into_font().color(&LINES))
        .x_labels(8)
        .y_labels(5)
        .x_label_formatter(&label)
        .y_label_formatter(&|amount| format!("{amount:.2}"))
        .draw()?;
    chart.draw_series(bars.iter().zip(0..).map(|(bar, place)| {
        let color = if bar.is_expected { EXPECTED } else { SPENT };
        let corners = [
            (SegmentValue::Exact(place), 0.0),
            (SegmentValue::Exact(place + 1), bar.height),
        ];
        let mut bar = Rectangle::new(corners, color.filled());
        bar.set_margin(0, 0, 2, 2);
        bar
    }))?;
    area.present()?;
    drop(chart);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_a_name_and_nothing_that_runs_or_styles() {
        let days = [
            Bar::spent("<b>1</b>", "0.5"),
            Bar::spent("2", "0"),
            Bar::expected("3", "1"),
        ];
        let text = bars("x", "Spent & more", "text", &days).into_string();
        assert!(
            text.starts_with("<svg class=\"chart\" role=\"img\""),
            "{text}"
        );
        assert!(text.contains("<title id=\"x-title\">Spent &amp; more</title>"));
        assert_eq!(text.matches("</svg>").count(), 1);
        assert_eq!(text.matches("#010101").count(), 2);
        assert_eq!(text.matches("fill=\"#020202\"").count(), 1);
        for bad in ["<b>", "style=", "<style", "<script", "NaN"] {
            assert!(!text.contains(bad), "{bad}: {text}");
        }
    }

    #[test]
    fn a_chart_of_nothing_is_drawn_too() {
        let zero = [Bar::spent("1", "0.00")];
        assert!(bars("x", "t", "d", &zero).into_string().contains("</svg>"));
        assert_eq!(bars("x", "t", "d", &[]).into_string(), "");
    }
}
