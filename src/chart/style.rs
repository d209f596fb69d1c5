//! The colours and strokes of all charts, as one style sheet.
//!
//! The palette is Okabe and Ito's, which people with colour-blindness can tell apart ("Color Universal
//! Design", 2008), with its yellow darkened on light ground. Scoped by the class `chart`, so that a page's own rules
//! stay its own.

/// The style sheet a page with charts embeds once, without the `<style>` tag around it.
pub const STYLE: &str = "\
.chart{--c-fg:#1b1f24;--c-muted:#667079;--c-grid:#e3e6ea;--c-0:#0072b2;--c-1:#d55e00;--c-2:#009e73;--c-3:#a35a8c;\
--c-4:#b8860b;--c-5:#3a9bd1;--c-6:#6b4fbb;--c-7:#5b6570;display:block;width:100%;height:auto;max-width:46rem;\
font:12px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}\
@media (prefers-color-scheme:dark){.chart{--c-fg:#e6e9ec;--c-muted:#98a2ac;--c-grid:#2d333a;--c-0:#56b4e9;--c-1:#ff8c42;\
--c-2:#2fc79a;--c-3:#d895c2;--c-4:#e6b730;--c-5:#8fd0f5;--c-6:#ab94f0;--c-7:#a9b3bd}}\
:root[data-theme=dark] .chart{--c-fg:#e6e9ec;--c-muted:#98a2ac;--c-grid:#2d333a;--c-0:#56b4e9;--c-1:#ff8c42;\
--c-2:#2fc79a;--c-3:#d895c2;--c-4:#e6b730;--c-5:#8fd0f5;--c-6:#ab94f0;--c-7:#a9b3bd}\
:root[data-theme=light] .chart{--c-fg:#1b1f24;--c-muted:#667079;--c-grid:#e3e6ea;--c-0:#0072b2;--c-1:#d55e00;--c-2:#009e73;\
--c-3:#a35a8c;--c-4:#b8860b;--c-5:#3a9bd1;--c-6:#6b4fbb;--c-7:#5b6570}\
.chart text{fill:var(--c-fg)}.chart .muted{fill:var(--c-muted)}.chart .title{font-weight:600;font-size:14px}\
.chart .grid{stroke:var(--c-grid);stroke-width:1}.chart .axis{stroke:var(--c-muted);stroke-width:1}\
.chart .ref{stroke:var(--c-muted);stroke-width:1;stroke-dasharray:4 4}\
.chart .line{fill:none;stroke-width:2;stroke-linejoin:round}.chart .band{stroke:none;opacity:.18}\
.chart .whisker{stroke:var(--c-fg);stroke-width:1.5;opacity:.75}.chart .dot{stroke:none}\
.chart .s0{stroke:var(--c-0)}.chart .s1{stroke:var(--c-1)}.chart .s2{stroke:var(--c-2)}.chart .s3{stroke:var(--c-3)}\
.chart .s4{stroke:var(--c-4)}.chart .s5{stroke:var(--c-5)}.chart .s6{stroke:var(--c-6)}.chart .s7{stroke:var(--c-7)}\
.chart .f0{fill:var(--c-0)}.chart .f1{fill:var(--c-1)}.chart .f2{fill:var(--c-2)}.chart .f3{fill:var(--c-3)}\
.chart .f4{fill:var(--c-4)}.chart .f5{fill:var(--c-5)}.chart .f6{fill:var(--c-6)}.chart .f7{fill:var(--c-7)}";

/// How many colours there are; series beyond take them from the start again.
pub(super) const COLOURS: usize = 8;
