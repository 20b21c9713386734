# SPDX-License-Identifier: MIT
# The rows of tests/bench/pause as a picture (SVG): a line for each cell and engine, on a logarithmic axis
# from the median pause (dot) to the longest one (bar), so that no plotting program is needed.
def colour: {criu: "#888888", stop: "#d95f02", precopy: "#1b9e77"}[.] // "#7570b3";
def text(x; y; attributes): "<text x=\"\(x)\" y=\"\(y)\" \(attributes)>\(. | @html)</text>";
def line(x1; y1; x2; y2; attributes): "<line x1=\"\(x1)\" y1=\"\(y1)\" x2=\"\(x2)\" y2=\"\(y2)\" \(attributes)/>";
def title: "\(.server), \(.rss_mb) MB, \(.threads) threads, \(.connections) conn." +
	(if .epoch_ms then ", \(.epoch_ms) ms" else "" end) + (if .asked_rate then ", \(.asked_rate)/s" else "" end);

map(select(.p50 != null and .max > 0)) as $rows |
360 as $left | 560 as $width | 22 as $step | 56 as $top |
($rows | map(.p50, .max) | (min // 0.1) | log10 | floor) as $low |
([($rows | map(.max) | (max // 1) | log10 | ceil), $low + 1] | max) as $high |
def x: $left + ((log10 - $low) / ($high - $low)) * $width | . * 10 | round / 10;
($top + ($rows | length) * $step) as $bottom |
"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"\($left + $width + 90)\" height=\"\($bottom + 40)\" font-family=\"sans-serif\" font-size=\"12\">",
"<rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
("Pause of a checkpoint, ms: median (dot) to longest (bar)" | text($left; 20; "font-size=\"14\"")),
(range($low; $high + 1) as $d | (if $d < 0 then 1 / ([range(-$d)] | reduce .[] as $i (1; . * 10))
		else ([range($d)] | reduce .[] as $i (1; . * 10)) end) as $v | ($v | x) as $at |
	line($at; $top - 6; $at; $bottom; "stroke=\"#dddddd\""),
	($v | tostring | text($at; $bottom + 18; "text-anchor=\"middle\""))),
($rows | map(.engine) | unique | to_entries[] | ($left + .key * 90) as $at | .value |
	"<circle cx=\"\($at + 4)\" cy=\"36\" r=\"4\" fill=\"\(colour)\"/>", text($at + 12; 40; "")),
($rows | to_entries[] | (.key * $step + $top + 10) as $y | .value | (.engine | colour) as $c |
	(.p50 | x) as $median | (.max | x) as $longest |
	(title | text($left - 12; $y + 4; "text-anchor=\"end\"")),
	line($median; $y; $longest; $y; "stroke=\"\($c)\" stroke-width=\"2\""),
	line($longest; $y - 5; $longest; $y + 5; "stroke=\"\($c)\" stroke-width=\"2\""),
	"<circle cx=\"\($median)\" cy=\"\($y)\" r=\"4\" fill=\"\($c)\"/>",
	(.p50 * 100 | round / 100 | tostring | text($longest + 8; $y + 4; "fill=\"#555555\""))),
"</svg>"
