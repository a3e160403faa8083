//! A chart of rates: one group of bars for each case, one bar for each contender.

use std::path::Path;

use plotters::prelude::*;

/// Colours that people tell apart who do not see all of them.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
];

/// A case, with the rate of each contender.
pub type Case = (String, Vec<f64>);

/// Draws the chart as an SVG file.
///
/// # Errors
/// When the file cannot be written.
pub fn draw(path: &Path, title: &str, contenders: &[&str], cases: &[Case]) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::new(path, (900, 480)).into_drawing_area();
    area.fill(&WHITE)?;
    let top = cases.iter().flat_map(|(_, rates)| rates).fold(1.0_f64, |top, rate| top.max(*rate)) * 1.1;
    let places = cases.len() * (contenders.len() + 1);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(0..places, 0.0..top)?;
    let label = |place: &usize| {
        let (case, within) = (place / (contenders.len() + 1), place % (contenders.len() + 1));
        cases.get(case).filter(|_| within == contenders.len() / 2).map_or_else(String::new, |case| case.0.clone())
    };
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh().x_labels(places).x_label_formatter(&label).y_desc("sagas/s").draw()?;
    for (nth, contender) in contenders.iter().enumerate() {
        let colour = COLOURS[nth % COLOURS.len()];
        let bars = cases.iter().enumerate().filter_map(|(case, (_, rates))| {
            let left = case * (contenders.len() + 1) + nth;
            Some(Rectangle::new([(left, 0.0), (left + 1, *rates.get(nth)?)], colour.filled()))
        });
        let series = chart.draw_series(bars)?.label((*contender).to_owned());
        series.legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 10, y + 5)], colour.filled()));
    }
    chart.configure_series_labels().background_style(WHITE).border_style(BLACK).draw()?;
    area.present()?;
    Ok(())
}
