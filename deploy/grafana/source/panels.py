"""The kinds of panels. Each takes a title, a description in plain words, what it queries, and its size on the grid of 24 columns."""

from .parts import by_name, by_regexp, datasource, thresholds, transform
from .studies import COLOURS

# Of a table with the figures of arms. A verdict takes all arms into account, and nothing here does: so no colour says who wins.
FIGURES = ("mean and sd (of a sample) over the runs; difference: mean over the seeds of the run minus the baseline's run of the same seed, "
           "negative is better, and its sd. Chance alone makes differences of up to 9 times that sd with 2 runs, 2.5 times with 3, 1.2 times "
           "with 5. polyctl compare has the intervals, and says which arms win.")

LEGEND = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}


def _panel(kind, title, description, targets, w, h, defaults, options, overrides=(), transformations=()):
    return {"type": kind, "title": title, "description": description, "datasource": targets[0]["datasource"], "targets": targets,
            "gridPos": {"w": w, "h": h}, "fieldConfig": {"defaults": defaults, "overrides": list(overrides)}, "options": options,
            "transformations": list(transformations)}


def _lines(label, log, **custom):
    scale = {"type": "log", "log": 10} if log else {"type": "linear"}
    return {"drawStyle": "line", "lineInterpolation": "linear", "lineWidth": 2, "fillOpacity": 0, "showPoints": "auto", "pointSize": 4,
            "spanNulls": True, "axisLabel": label, "axisPlacement": "auto", "scaleDistribution": scale,
            "hideFrom": {"legend": False, "tooltip": False, "viz": False}, "thresholdsStyle": {"mode": "off"}, **custom}


def time_series(title, description, targets, unit="none", w=8, h=8, label="", log=False, least=None, overrides=(), alarm=None):
    """alarm: thresholds to draw as lines."""
    defaults = {"unit": unit, "color": {"mode": "palette-classic"}, "custom": _lines(label, log, showPoints="never", spanNulls=60000)}
    if least is not None:
        defaults["min"] = least
    if alarm:
        defaults["thresholds"] = alarm
        defaults["custom"]["thresholdsStyle"] = {"mode": "dashed"}
    return _panel("timeseries", title, description, targets, w, h, defaults,
                  {"legend": LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}}, overrides)


def band_trend(title, description, targets, label, column="series", w=12, h=11, decimals=3):
    """Lines over tokens, each with the band between its lowest and its highest run. The one table that comes in has the columns tokens,
    `column` ("ARM mean", "ARM min", "ARM max") and Value or value.

    A Trend panel takes one frame whose x ascends; rows come in the order of labels as text, in which 1000 is before 200: sortBy.
    fillBelowTo takes a name, no pattern: the arms of the studies that we ship have one each; of others the edges are dotted lines.
    """
    value = "value" if targets[0]["datasource"] != datasource("prometheus") else "Value"
    overrides = [by_regexp("/^tokens/", unit="sishort", custom__axisLabel="tokens"),
                 by_regexp("/ (min|max)$/", custom__lineWidth=1, custom__lineStyle={"fill": "dot", "dash": [1, 6]},
                           custom__showPoints="never", custom__hideFrom={"legend": True, "tooltip": False, "viz": False})]
    for arm, colour in COLOURS.items():
        fixed = {"mode": "fixed", "fixedColor": colour}
        overrides += [by_name(arm, color=fixed), by_name(arm + " min", color=fixed, custom__lineWidth=0),
                      by_name(arm + " max", color=fixed, custom__lineWidth=0, custom__fillBelowTo=arm + " min",
                              custom__fillOpacity=18)]
    return _panel("trend", title, description, targets, w, h,
                  {"unit": "none", "decimals": decimals, "color": {"mode": "palette-classic"}, "custom": _lines(label, False)},
                  {"legend": LEGEND, "tooltip": {"mode": "multi", "sort": "asc"}}, overrides, matrix("tokens", column, value) +
                  [transform("renameByRegex", regex="^(.*) mean$", renamePattern="$1")])


def matrix(row, column, value="Value"):
    """A table with a row for each value of `row`, as numbers in ascending order, and a column for each of `column`."""
    return [transform("convertFieldType", fields={}, conversions=[{"targetField": row, "destinationType": "number"}]),
            transform("groupingToMatrix", columnField=column, rowField=row, valueField=value, emptyValue="null"),
            transform("sortBy", fields={}, sort=[{"field": f"{row}\\{column}"}])]


def over_tokens(title, description, y, tokens, label, w=12, h=9):
    """Of each run, y against tokens as it was scraped. Both are range tables (refs A and B) with the label run alone. XY charts have
    tooltips on points only, and draw a null as 0: points and lines, and no outer join."""
    return _panel(
        "xychart", title, description, [y, tokens], w, h,
        {"color": {"mode": "palette-classic"}, "decimals": 3,
         "custom": {"show": "points+lines", "pointSize": {"fixed": 3}, "pointShape": "circle", "pointStrokeWidth": 0, "fillOpacity": 60,
                    "lineWidth": 2, "scaleDistribution": {"type": "linear"},
                    "hideFrom": {"legend": False, "tooltip": False, "viz": False}}},
        {"mapping": "auto", "legend": LEGEND, "tooltip": {"mode": "single", "sort": "none"},
         "series": [{"x": {"matcher": {"id": "byRegexp", "options": "/^Value #B/"}},
                     "y": {"matcher": {"id": "byRegexp", "options": "/^Value #A/"}}}]},
        [by_regexp("/^Value #A/", custom__axisLabel=label), by_regexp("/^Value #B/", unit="sishort", custom__axisLabel="tokens")],
        [transform("merge"), transform("partitionByValues", fields=["run"], keepFields=False, naming={"asLabels": True})]
    ) | {"maxDataPoints": 600}


def table(title, description, targets, transformations, overrides=(), w=12, h=9, unit="none", decimals=None, colour=None, sort=None):
    """colour: a colour mode, for a background by value, from the lowest to the highest of each column."""
    custom = {"align": "auto", "cellOptions": {"type": "color-background", "mode": "basic"} if colour else {"type": "auto"}}
    defaults = {"unit": unit, "custom": custom, "color": {"mode": colour or "thresholds"}, "thresholds": thresholds(("text", None)),
                "fieldMinMax": bool(colour)}
    if decimals is not None:
        defaults["decimals"] = decimals
    options = {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": ["sum"], "countRows": False, "fields": ""}}
    if sort:
        options["sortBy"] = [{"displayName": sort, "desc": False}]
    return _panel("table", title, description, targets, w, h, defaults, options, overrides, transformations)


def stat(title, description, targets, unit="none", w=4, h=4, steps=(("text", None),), decimals=None, overrides=()):
    defaults = {"unit": unit, "color": {"mode": "thresholds"}, "thresholds": thresholds(*steps)}
    if decimals is not None:
        defaults["decimals"] = decimals
    return _panel("stat", title, description, targets, w, h, defaults,
                  {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "orientation": "auto",
                   "textMode": "auto", "colorMode": "value", "graphMode": "none", "justifyMode": "auto"}, overrides)


def bars(title, description, targets, unit="percentunit", w=8, h=8, least=0, most=1, steps=(("blue", None),)):
    """A bar for each series, of its newest value."""
    return _panel("bargauge", title, description, targets, w, h,
                  {"unit": unit, "min": least, "max": most, "color": {"mode": "thresholds"}, "thresholds": thresholds(*steps)},
                  {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "orientation": "horizontal",
                   "displayMode": "basic", "showUnfilled": True, "valueMode": "color", "minVizHeight": 12, "minVizWidth": 8})


def heatmap(title, description, targets, unit="none", w=12, h=9):
    """Of a classic histogram: a series for each upper bound, named {{le}}."""
    return _panel("heatmap", title, description, targets, w, h,
                  {"custom": {"scaleDistribution": {"type": "linear"}, "hideFrom": {"legend": False, "tooltip": False, "viz": False}}},
                  {"calculate": False, "cellGap": 1, "rowsFrame": {"layout": "auto"}, "yAxis": {"unit": unit, "axisPlacement": "left"},
                   "color": {"mode": "scheme", "scheme": "Viridis", "steps": 64, "exponent": 0.5, "fill": "blue", "reverse": False},
                   "filterValues": {"le": 1e-9}, "legend": {"show": True}, "tooltip": {"mode": "single", "yHistogram": False},
                   "exemplars": {"color": "rgba(255,0,255,0.7)"}, "showValue": "never"})


def repeated(panel, variable, per_line):
    """A copy of the panel for each value that is chosen."""
    return panel | {"repeat": variable, "repeatDirection": "h", "maxPerRow": per_line}
