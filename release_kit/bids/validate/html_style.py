"""The style sheet of a validation page; severities differ in lightness as well as in colour."""

STYLE = """
:root{color-scheme:light dark;--ink:#1f2328;--faint:#59636e;--paper:#fff;--panel:#f6f8fa;--line:#d8dee4;
--error:#c4320a;--warning:#d99a00;--note:#6e9bd1;--good:#2f8f6b;--absent:#b6bec8;--errorbg:#fdeee9;--goodbg:#e8f5ef;
--warningbg:#fdf5df}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--faint:#9da7b3;--paper:#0d1117;--panel:#161b22;--line:#30363d;
--error:#f4724d;--warning:#e0b040;--note:#7fb0e6;--good:#4fbf93;--absent:#4b5561;--errorbg:#2d1711;--goodbg:#10261d;
--warningbg:#2a2212}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1080px;padding:28px 20px 60px;background:var(--paper);color:var(--ink);
font:15px/1.5 ui-sans-serif,system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif}
h1{font-size:1.7em;margin:0;line-height:1.25}h2{font-size:1.25em;margin:2em 0 .5em;border-bottom:1px solid var(--line);
padding-bottom:.25em}h3{font-size:1em;margin:1.4em 0 .5em}p{margin:.4em 0}.faint,small{color:var(--faint)}
code{font:.88em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
.verdict{font-weight:600;padding:10px 14px;border-radius:8px;border-left:5px solid;margin:1em 0}
.verdict.error{background:var(--errorbg);border-color:var(--error)}
.verdict.good{background:var(--goodbg);border-color:var(--good)}
.verdict.warning{background:var(--warningbg);border-color:var(--warning)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px}
.card{background:var(--panel);border:1px solid var(--line);border-top:4px solid var(--line);border-radius:8px;
padding:10px 12px;display:flex;flex-direction:column}
.card b{font-size:1.5em;line-height:1.2;font-variant-numeric:tabular-nums}.card.error{border-top-color:var(--error)}
.card.warning{border-top-color:var(--warning)}.card.note{border-top-color:var(--note)}
.card.good{border-top-color:var(--good)}.card.absent{border-top-color:var(--absent)}.card.zero b{color:var(--faint)}
.legend{font-size:.86em;color:var(--faint);display:flex;flex-wrap:wrap;gap:4px 16px}
.legend span{display:inline-flex;align-items:center;gap:6px}
.tasks{display:flex;flex-wrap:wrap;gap:14px 26px;margin-top:.8em}
table.grid{border-collapse:separate;border-spacing:3px}.grid caption{text-align:left;font-weight:600;font-size:.9em;
padding-bottom:2px}.grid th{font-weight:400;font-size:.72em;color:var(--faint);padding:0 2px;text-align:center;
font-variant-numeric:tabular-nums}.grid tr>th:first-child{text-align:right;padding-right:5px;white-space:nowrap}
.grid td{padding:0}i{display:block;width:17px;height:17px;border-radius:4px;background:var(--kind);
border:2px solid var(--kind)}i.bare{background:transparent}i.good{--kind:var(--good)}i.note{--kind:var(--note)}
i.warning{--kind:var(--warning)}i.error{--kind:var(--error)}i.absent{--kind:var(--absent)}
i.none{background:none;border:1px dashed var(--line)}
details{border:1px solid var(--line);border-left:4px solid var(--line);border-radius:6px;margin:.5em 0;padding:6px 12px;
background:var(--panel);break-inside:avoid}details.error{border-left-color:var(--error)}
details.warning{border-left-color:var(--warning)}details.note{border-left-color:var(--note)}
summary{cursor:pointer}.tag{font-size:.74em;text-transform:uppercase;letter-spacing:.04em;margin-right:2px}
.error .tag,b.error{color:var(--error)}.warning .tag{color:var(--warning)}.note .tag{color:var(--note)}
b.good{color:var(--good)}.n{float:right;color:var(--faint);font-variant-numeric:tabular-nums}
details p{color:var(--faint);font-size:.92em}.step::before{content:"→ "}ul{margin:.4em 0;padding-left:1.2em}
li{margin:.25em 0;overflow-wrap:anywhere}.scroll{overflow-x:auto}
table.list{border-collapse:collapse;font-size:.9em;width:100%}.list th,.list td{text-align:left;vertical-align:top;
padding:4px 12px 4px 0;border-bottom:1px solid var(--line)}
.list td:first-child code{overflow-wrap:normal;white-space:nowrap}.list th{color:var(--faint);font-weight:600}
@media print{body{max-width:none;padding:0;font-size:11px}.scroll{overflow:visible}details:not([open])>*{display:block}}
"""
