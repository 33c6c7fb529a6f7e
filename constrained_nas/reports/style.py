"""How the page of a report looks, light and dark, narrow and wide."""

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1d2330;--faint:#667085;--rule:#e3e6ec;--card:#f6f7f9;--found:#1f6fb2;
  --other:#8a94a6;--limit:#c2570c;--good:#1a7f4b;--bad:#c0392b;--box:#1f6fb2}
@media (prefers-color-scheme:dark){:root{--paper:#14171d;--ink:#e6e9ef;--faint:#9aa4b5;--rule:#2c323d;--card:#1c2028;
  --found:#62aef0;--other:#8a94a6;--limit:#f0954a;--good:#4cc38a;--bad:#ff7b6b;--box:#62aef0}}
*{box-sizing:border-box}
body{font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:var(--ink);background:var(--paper);
  max-width:68rem;margin:0 auto;padding:1.5rem 1rem 4rem;overflow-wrap:break-word}
h1{font-size:1.5rem;line-height:1.25;margin:.2rem 0 1rem}
h2{font-size:1.15rem;margin:2.4rem 0 .6rem;border-bottom:1px solid var(--rule);padding-bottom:.3rem}
p{margin:.5rem 0;max-width:48rem}
.faint{color:var(--faint);font-size:.87rem}
.verdict{border:1px solid var(--rule);border-left:6px solid var(--good);background:var(--card);border-radius:6px;
  padding:.8rem 1.1rem}
.verdict.over{border-left-color:var(--bad)}
.verdict p{margin:.3rem 0}
.verdict .said{font-size:1.15rem;font-weight:600}
.scroll{overflow-x:auto}
table{border-collapse:collapse;margin:.6rem 0;font-size:.94rem}
th{font-weight:600;text-align:left}
td,th{border-bottom:1px solid var(--rule);padding:.3rem .9rem .3rem 0;vertical-align:top}
.number{text-align:right;white-space:nowrap}
ul{max-width:60rem;padding-left:1.2rem}li{margin:.25rem 0}
.panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,19rem),1fr));gap:1rem;margin:.8rem 0}
.panels svg{width:100%;max-width:30rem;height:auto}
figure{margin:0}
.bar{position:relative;height:1.5rem;background:var(--card);border-radius:3px;margin:.25rem 0 .7rem;max-width:48rem}
.bar b{position:absolute;left:0;top:0;bottom:0;border-radius:3px;background:var(--found)}
.bar.over b{background:var(--bad)}
.bar i{position:absolute;top:-.25rem;bottom:-.25rem;border-left:2px dashed var(--limit)}
.network{display:flex;flex-wrap:wrap;align-items:stretch;gap:.35rem .25rem;margin:.6rem 0}
.block{display:flex;flex-direction:column;align-items:center;font-size:.68rem;line-height:1.25;min-width:3.2rem}
.block span{max-width:6.6rem;text-align:center;overflow-wrap:anywhere}
.block span+span{color:var(--faint)}
.side{align-self:stretch;border-left:2px solid var(--limit);padding-left:.3rem;font-size:.72rem;color:var(--limit);
  white-space:nowrap;display:flex;align-items:flex-start}
.ramp{display:inline-block;width:3.5rem;height:.7rem;border-radius:2px;vertical-align:-1px;
  background:linear-gradient(to right,color-mix(in srgb,var(--box) 6%,transparent),var(--box))}
.box{fill:var(--box);stroke:var(--ink);stroke-width:.8}
.box.fixed{fill:var(--other);stroke-dasharray:3 2}
.decisions{display:grid;grid-template-columns:minmax(4rem,auto) 1fr minmax(4rem,auto);gap:.2rem .7rem;align-items:center;
  font-size:.8rem;margin:.6rem 0}
.band{width:100%;height:1.25rem;display:block}
.decisions span{overflow-wrap:anywhere}
.key{display:flex;flex-wrap:wrap;gap:.15rem .9rem;font-size:.8rem}
.key svg{width:.8rem;height:.8rem;vertical-align:-1px;margin-right:.3rem}
.line{fill:none;stroke-width:1.8;stroke:var(--found);vector-effect:non-scaling-stroke}
.dot{fill:var(--found)}
.line.second{stroke:var(--limit)}
.dot.second{fill:var(--limit)}
.line.third{stroke:var(--good)}
.dot.third{fill:var(--good)}
.dot.other{fill:var(--other)}
.grid{stroke:var(--rule)}
.axis{stroke:var(--other)}
.limit{stroke:var(--limit);stroke-dasharray:5 3}
svg text{font:13px system-ui,sans-serif}
svg .small{font-size:11px}
.ink{fill:var(--ink)}
svg .faint{fill:var(--faint)}
svg .key-word{fill:var(--found);font-weight:600}
svg .key-word.second{fill:var(--limit)}
svg .key-word.third{fill:var(--good)}
.limit-word{fill:var(--limit)}
pre{background:var(--card);border-radius:4px;padding:.7rem .9rem;white-space:pre-wrap;font-size:.84rem;overflow-wrap:anywhere}
img{max-width:100%;background:#fff;border-radius:4px}
details{margin:.5rem 0}
summary{cursor:pointer}
@media (max-width:34rem){body{padding:1rem .7rem 3rem}.decisions{grid-template-columns:5.2rem 1fr 4.2rem;gap:.2rem .4rem;
  font-size:.72rem}td,th{padding-right:.6rem}}
""" + "".join(f".h{place}{{fill:hsl({place * 137.5 % 360:.0f} 55% {52 + 10 * (place % 2)}%)}}" for place in range(12))
