//! Many Services: one small card each, in columns.

use maud::{Markup, html};

use super::part::{MARGIN, Part, WIDTH, more_classes, nl};
use crate::picture::{
    model::{Counts, Picture, Row},
    words::{count, number, severity_class, shorten},
};

const COLUMNS: usize = 3;
const GAP: usize = 10;
const CARD_WIDTH: usize = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS;
const CARD_HEIGHT: usize = 62;
/// Length of the bar of a Service's endpoints.
const BAR: usize = CARD_WIDTH - 20;

/// The heading, and the cards.
pub(super) fn overview(picture: &Picture, rows: &[Row], more: usize) -> Vec<Part> {
    let heading = html! { (nl()) text.head x=(MARGIN) y="18" { (picture.title()) } };
    let lines = rows.len().div_ceil(COLUMNS);
    let cards = html! {
        @for (place, row) in rows.iter().enumerate() {
            @let x = MARGIN + place % COLUMNS * (CARD_WIDTH + GAP);
            (card(row, x, place / COLUMNS * (CARD_HEIGHT + GAP)))
        }
        @if more > 0 {
            (nl()) text.dim x=(MARGIN) y=(lines * (CARD_HEIGHT + GAP) + 14) {
                "and " (count(more, "more Service", "more Services"))
            }
        }
    };
    vec![(34, heading), (lines * (CARD_HEIGHT + GAP) + 26, cards)]
}

fn card(row: &Row, x: usize, y: usize) -> Markup {
    let Counts { here, zone, elsewhere, unused } = row.counts;
    let problem = row.problem.as_ref();
    let class = problem.map_or("", |problem| severity_class(problem.severity));
    html! {
        (nl()) g {
            title {
                (row.name) ": " (number(here)) " on this node, " (number(zone)) " in the same zone, "
                (number(elsewhere)) " elsewhere, " (number(unused)) " not used"
                @if let Some(problem) = problem { "\n" (problem.sentence) "\n" (problem.hint) }
            }
            rect class={ "row" (more_classes(&[class, row.mark.class()])) } x=(x) y=(y) width=(CARD_WIDTH) height=(CARD_HEIGHT) rx="6" {}
            text.name x=(x + 10) y=(y + 17) { (row.mark.sign()) (shorten(&row.name, 28)) }
            text.small.dim x=(x + CARD_WIDTH - 10) y=(y + 17) text-anchor="end" {
                (row.used())
            }
            @match problem {
                Some(problem) => {
                    text.small.(class) x=(x + 10) y=(y + 35) { (shorten(&problem.sentence, 50)) }
                }
                None => {
                    text.small.dim x=(x + 10) y=(y + 35) { (row.kind) " " (shorten(&row.address, 34)) }
                }
            }
            (bar(row.counts, x + 10, y + 46))
        }
    }
}

/// The endpoints as a bar, by where they are.
fn bar(counts: Counts, x: usize, y: usize) -> Markup {
    let of =
        [(counts.here, "here"), (counts.zone, "zone"), (counts.elsewhere, "far"), (counts.unused, "unused")];
    let all = counts.all();
    let mut sum = 0;
    html! {
        @for (part, class) in of {
            @if part > 0 {
                @let from = sum * BAR / all;
                @let to = { sum += part; sum * BAR / all };
                rect class={ "bar " (class) } x=(x + from) y=(y) width=((to - from).max(1)) height="7" {}
            }
        }
    }
}
