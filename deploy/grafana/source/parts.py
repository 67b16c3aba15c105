"""What every dashboard is made of: targets, variables, links, and the grid. Plain dictionaries in the form of Grafana's schemaVersion 39,
which Grafana 11 and later read as they are (later ones migrate it in memory)."""

DATASOURCE_UID = "${datasource}"


def datasource(kind):
    return {"type": kind, "uid": DATASOURCE_UID}


def target(expr, legend="", ref="A", table=False, heatmap=False):
    """A Prometheus query. table: of one instant, all series in one frame with their labels as columns."""
    shape = "table" if table else "heatmap" if heatmap else "time_series"
    return {"datasource": datasource("prometheus"), "refId": ref, "editorMode": "code", "expr": expr, "legendFormat": legend,
            "format": shape, "instant": table, "range": not table}


def range_table(expr, ref):
    """Of a time range, all series in one frame: rows of Time, labels, and Value."""
    return {**target(expr, ref=ref), "format": "table"}


def sql_target(sql, ref="A"):
    return {"datasource": datasource("grafana-postgresql-datasource"), "refId": ref, "editorMode": "code", "format": "table",
            "rawQuery": True, "rawSql": sql}


def transform(kind, **options):
    return {"id": kind, "options": options}


def by_name(name, **properties):
    return _override("byName", name, properties)


def by_regexp(pattern, **properties):
    return _override("byRegexp", pattern, properties)


def _override(matcher, options, properties):
    """Keyword custom__lineWidth is the property custom.lineWidth."""
    return {"matcher": {"id": matcher, "options": options},
            "properties": [{"id": k.replace("__", "."), "value": v} for k, v in properties.items()]}


def thresholds(*steps):
    """(colour, from) in ascending order; the first one's `from` is None."""
    return {"mode": "absolute", "steps": [{"color": colour, "value": value} for colour, value in steps]}


def datasource_variable(kind):
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": kind, "current": {}, "hide": 0, "refresh": 1,
            "regex": "", "multi": False, "includeAll": False, "options": []}


def query_variable(name, label, query, kind="prometheus", multi=True, all_value=None, sort=1):
    """all_value None: All is the list of the values that were found."""
    return {"name": name, "label": label, "type": "query", "datasource": datasource(kind), "query": query, "definition": query,
            "current": {}, "hide": 0, "refresh": 2, "regex": "", "sort": sort, "multi": multi, "includeAll": multi,
            "allValue": all_value, "options": []}


def choice_variable(name, label, values):
    options = [{"text": v, "value": v, "selected": i == 0} for i, v in enumerate(values)]
    return {"name": name, "label": label, "type": "custom", "query": ",".join(values), "current": options[0], "options": options,
            "hide": 0, "multi": False, "includeAll": False}


def run_link():
    """Of a table's column with a run's id, to the run's dashboard."""
    return [{"title": "Live run", "url": "/d/polymoe-live-run?var-datasource=${datasource}&var-run=${__value.raw}"}]


RESTARTS = {"name": "Launches", "enable": True, "iconColor": "orange", "datasource": datasource("prometheus"),
            "expr": 'changes(polymoe_run_attempts{run=~"$run"}[$__interval]) > 0', "titleFormat": "launched again",
            "textFormat": "{{run}}"}


def dashboard(uid, title, description, variables, sections, refresh="30s", since="now-6h", annotations=()):
    """sections: (title, [panels]); a panel's gridPos has w and h, and gets its place here: left to right, a new line when one is full."""
    panels, y = [], 0
    for name, content in sections:
        panels.append({"type": "row", "title": name, "collapsed": False, "panels": [], "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})
        x, y, line = 0, y + 1, 0
        for panel in content:
            w, h = panel["gridPos"]["w"], panel["gridPos"]["h"]
            if x + w > 24:
                x, y, line = 0, y + line, 0
            panels.append({**panel, "gridPos": {"x": x, "y": y, "w": w, "h": h}})
            x, line = x + w, max(line, h)
        y += line
    for i, panel in enumerate(panels):
        panel["id"] = i + 1
    return {"uid": "polymoe-" + uid, "title": "PolyMoE / " + title, "description": description, "tags": ["polymoe"],
            "schemaVersion": 39, "version": 1, "editable": True, "graphTooltip": 1, "refresh": refresh, "timezone": "browser",
            "time": {"from": since, "to": "now"}, "annotations": {"list": list(annotations)}, "templating": {"list": variables},
            "links": [{"title": "PolyMoE", "type": "dashboards", "tags": ["polymoe"], "asDropdown": False, "includeVars": True,
                       "keepTime": True, "icon": "external link", "targetBlank": False, "tooltip": "", "url": ""}],
            "panels": panels}
