#!/usr/bin/python3
"""Writes the dashboards of source.py in the form of each product, beside itself; `--check` only says whether they are current."""
import json
import os
import re
import sys

import source

HERE = os.path.dirname(os.path.abspath(__file__))
INDEX = "tapline-events"
PATTERN = "tapline-*,logs-tapline.*"
TIME = "@timestamp"
# What Grafana calls a column of a table by what is in it.
COLUMNS = {"count": "Count", "sum": "Sum", "avg": "Average", "min": "Min", "max": "Max", "cardinality": "Unique Count"}
# Numbers that are names: shown without separators.
NAMES = ("client.port", "server.port", "source.port", "destination.port", "http.response.status_code", "sip.code", "call.code", "url.port")


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def slug(*words):
    return re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")


def places(panels):
    """Each with its place: from left to right, a new line where it does not fit."""
    x = y = high = 0
    for panel in panels:
        if x + panel.width > 48:
            x, y, high = 0, y + high, 0
        yield panel, x, y
        x, high = x + panel.width, max(high, panel.height)


# Kibana and OpenSearch Dashboards: saved objects.


class Product:
    """The versions of the forms that its objects are written in, and whether a dashboard's references begin with the panel's number."""

    def __init__(self, versions, core=None, prefix=False):
        self.versions, self.core, self.prefix = versions, core, prefix

    def saved(self, kind, name, attributes, references=()):
        found = {"id": name, "type": kind, "attributes": attributes, "references": list(references), "migrationVersion": {kind: self.versions[kind]}}
        return {**found, "coreMigrationVersion": self.core} if self.core else found


# Of each type the newest form that OpenSearch Dashboards knows; a newer one it refuses. Kibana takes visualizations of that form, too, and brings
# them up to its own (palettes, legends, its charts instead of the old ones): so it must not be told that they are newer than they are.
OPENSEARCH = Product({"index-pattern": "7.6.0", "visualization": "7.10.0", "dashboard": "7.9.3"})
KIBANA = Product({"index-pattern": "7.11.0", "visualization": "7.10.0", "dashboard": "7.14.0"}, core="8.0.0", prefix=True)


def unit_of(field):
    """Every field's name tells its unit."""
    endings = {".bytes": "bytes", "event.duration": "ns", "_ms": "ms", "percent": "percent"}
    return next((unit for ending, unit in endings.items() if field and field.endswith(ending)), "short")


def format_of(field):
    """How the saved objects write a field's values. Percents stay numbers: the format of that name multiplies by 100."""
    if field in NAMES:
        return {"id": "number", "params": {"pattern": "0"}}
    duration = lambda unit: {"id": "duration", "params": {"inputFormat": unit, "outputFormat": "asMilliseconds", "outputPrecision": 2, "showSuffix": True}}
    return {"bytes": {"id": "bytes"}, "ns": duration("nanoseconds"), "ms": duration("milliseconds")}.get(unit_of(field))


def fields_of(panel):
    return [metric.field for metric in panel.metrics if metric.field] + list(panel.by)


def index_pattern(product):
    used = sorted({field for dashboard in source.EVENTS for panel in dashboard.panels for field in fields_of(panel)})
    formats = {field: format_of(field) for field in used if format_of(field)}
    attributes = {"title": PATTERN, "timeFieldName": TIME, "fields": "[]", "fieldFormatMap": compact(formats)}
    if product is KIBANA:
        attributes["name"] = "Tapline: events"
    return product.saved("index-pattern", INDEX, attributes)


def aggregations(panel):
    """Metrics first, then what divides them; outermost first, as they are nested in the question."""
    found = []
    for number, metric in enumerate(panel.metrics, 1):
        params = {"field": metric.field} if metric.field else {}
        if metric.percents:
            params["percents"] = list(metric.percents)
        found.append({"id": str(number), "enabled": True, "type": metric.operation, "schema": "metric", "params": {**params, "customLabel": metric.label}})
    first = panel.metrics[0]
    order = {"orderBy": "1", "order": "asc" if first.operation == "min" else "desc"}
    schema = {"over_time": "group", "top": "segment", "share": "segment", "table": "bucket"}.get(panel.kind)
    for place, field in enumerate(panel.by):
        params = {"field": field, **order, "size": panel.size if place == 0 else 5, "otherBucket": False, "otherBucketLabel": "Other", "missingBucket": False,
                  "missingBucketLabel": "Missing"}
        found.append({"id": str(len(found) + 1), "enabled": True, "type": "terms", "schema": schema, "params": params})
    if panel.kind == "over_time":
        params = {"field": TIME, "useNormalizedEsInterval": True, "scaleMetricValues": False, "interval": "auto", "drop_partials": False, "min_doc_count": 1,
                  "extended_bounds": {}}
        found.append({"id": str(len(found) + 1), "enabled": True, "type": "date_histogram", "schema": "segment", "params": params})
    return found


def bars_and_lines(panel):
    """Parameters of what has axes."""
    lies = panel.kind == "top"
    drawn = "histogram" if lies or panel.stacked else "line"
    labels = {"show": True, "filter": True, "truncate": 200 if lies else 100, "rotate": 0}
    return {
        "type": "histogram" if lies else drawn, "grid": {"categoryLines": False},
        "categoryAxes": [{"id": "CategoryAxis-1", "type": "category", "position": "left" if lies else "bottom", "show": True, "style": {},
                          "scale": {"type": "linear"}, "labels": labels, "title": {}}],
        "valueAxes": [{"id": "ValueAxis-1", "name": "BottomAxis-1" if lies else "LeftAxis-1", "type": "value", "position": "bottom" if lies else "left",
                       "show": True, "style": {}, "scale": {"type": "linear", "mode": "normal"}, "labels": {**labels, "filter": lies, "truncate": 100},
                       "title": {"text": panel.metrics[0].label if len(panel.metrics) == 1 else ""}}],
        "seriesParams": [{"show": True, "type": drawn, "mode": "stacked" if panel.stacked else "normal", "data": {"id": str(number), "label": metric.label},
                          "valueAxis": "ValueAxis-1", "drawLinesBetweenPoints": True, "lineWidth": 2, "interpolate": "linear", "showCircles": True}
                         for number, metric in enumerate(panel.metrics, 1)],
        "addTooltip": True, "addLegend": not lies, "legendPosition": "right", "times": [], "addTimeMarker": False, "labels": {"show": False},
        "thresholdLine": {"show": False, "value": 10, "width": 1, "style": "full", "color": "#E7664C"},
    }


def visualization(product, dashboard, panel):
    name = f"{INDEX}-{slug(dashboard.name, panel.title)}"
    if panel.kind in ("over_time", "top"):
        parameters = bars_and_lines(panel)
        drawn = "horizontal_bar" if panel.kind == "top" else parameters["type"]
    elif panel.kind == "share":
        drawn, parameters = "pie", {"type": "pie", "addTooltip": True, "addLegend": True, "legendPosition": "right", "isDonut": True,
                                    "labels": {"show": False, "values": True, "last_level": True, "truncate": 100}}
    elif panel.kind == "table":
        drawn, parameters = "table", {"perPage": 10, "showPartialRows": False, "showMetricsAtAllLevels": False, "showTotal": False, "totalFunc": "sum",
                                      "percentageCol": ""}
    else:
        style = {"bgFill": "#000", "bgColor": False, "labelColor": False, "subText": "", "fontSize": 36}
        drawn, parameters = "metric", {"type": "metric", "addTooltip": True, "addLegend": False, "metric": {
            "percentageMode": False, "useRanges": False, "colorSchema": "Green to Red", "metricColorMode": "None", "colorsRange": [{"from": 0, "to": 10000}],
            "labels": {"show": True}, "invertColors": False, "style": style}}
    title = f"{dashboard.title}: {panel.title}"
    state = {"title": title, "type": drawn, "aggs": aggregations(panel), "params": parameters}
    searched = {"query": {"query": panel.query, "language": "lucene"}, "filter": [], "indexRefName": "kibanaSavedObjectMeta.searchSourceJSON.index"}
    attributes = {"title": title, "description": "", "version": 1, "uiStateJSON": "{}", "visState": compact(state),
                  "kibanaSavedObjectMeta": {"searchSourceJSON": compact(searched)}}
    return product.saved("visualization", name, attributes, [{"name": searched["indexRefName"], "type": "index-pattern", "id": INDEX}])


def dashboard_object(product, dashboard, objects):
    panels, references = [], []
    for number, ((panel, x, y), shown) in enumerate(zip(places(dashboard.panels), objects), 1):
        index, name = str(number), f"panel_{number}"
        panels.append({"version": product.versions["visualization"], "type": "visualization", "gridData": {"x": x, "y": y, "w": panel.width, "h": panel.height, "i": index},
                       "panelIndex": index, "embeddableConfig": {"title": panel.title}, "title": panel.title, "panelRefName": name})
        references.append({"name": f"{index}:{name}" if product.prefix else name, "type": "visualization", "id": shown["id"]})
    attributes = {"title": dashboard.title, "description": dashboard.text, "version": 1, "timeRestore": False, "hits": 0, "panelsJSON": compact(panels),
                  "optionsJSON": compact({"useMargins": True, "hidePanelTitles": False}),
                  "kibanaSavedObjectMeta": {"searchSourceJSON": compact({"query": {"query": "", "language": "kuery"}, "filter": []})}}
    return product.saved("dashboard", f"tapline-{dashboard.name}", attributes, references)


def saved_objects(product):
    lines = [index_pattern(product)]
    for dashboard in source.EVENTS:
        shown = [visualization(product, dashboard, panel) for panel in dashboard.panels]
        lines += [*shown, dashboard_object(product, dashboard, shown)]
    return "".join(compact(line) + "\n" for line in lines)


# Grafana.


def grafana(name, title, text, kind, panels):
    """A dashboard whose data source is chosen above it."""
    variable = {"name": "datasource", "label": "Data source", "type": "datasource", "query": kind, "hide": 0, "multi": False, "includeAll": False, "refresh": 1,
                "regex": "", "options": [], "current": {}}
    for number, panel in enumerate((one for panel in panels for one in (panel, *panel.get("panels", ()))), 1):
        panel["id"] = number
    found = {"uid": name, "title": title, "description": text, "tags": ["tapline"], "schemaVersion": 36, "version": 1, "editable": True, "graphTooltip": 1,
             "time": {"from": "now-1h", "to": "now"}, "timezone": "", "refresh": "", "templating": {"list": [variable]}, "annotations": {"list": []}, "links": [],
             "panels": panels}
    return json.dumps(found, ensure_ascii=False, indent=1) + "\n"


def drawn(kind, title, unit, place, datasource, targets, text=""):
    """A panel of Grafana, without its number."""
    options = {
        "timeseries": {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}, "tooltip": {"mode": "multi", "sort": "desc"}},
        "stat": {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "graphMode": "none", "colorMode": "none", "textMode": "auto"},
        "barchart": {"orientation": "horizontal", "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False}, "showValue": "auto"},
        "piechart": {"pieType": "donut", "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": True},
                     "legend": {"displayMode": "list", "placement": "right", "showLegend": True}},
        "table": {"showHeader": True},
    }[kind]
    return {"type": kind, "title": title, "description": text, "gridPos": place, "datasource": datasource, "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
            "options": options, "targets": targets}


def row(title, y, panels=None):
    """A heading; with panels, one that is closed and holds them."""
    return {"type": "row", "title": title, "collapsed": panels is not None, "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}, "panels": panels or []}


def grid(panel, x, y, top):
    """Places are in 48ths and 7 high; Grafana's are in 24ths, and 4 of its lines are as high."""
    return {"x": x // 2, "y": top + y * 4 // 7, "w": panel.width // 2, "h": panel.height * 4 // 7}


def bottom(panels):
    return max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)


def metrics_of_programs():
    panels, top = [], 0
    datasource = {"type": "prometheus", "uid": "${datasource}"}
    for part in source.METRICS:
        panels.append(row(part.title, top))
        top += 1
        for chart, x, y in places(part.charts):
            targets = [{"refId": chr(65 + number), "datasource": datasource, "expr": series.expression, "legendFormat": series.legend, "range": True}
                       for number, series in enumerate(chart.series)]
            panels.append(drawn(chart.kind, chart.title, chart.unit, grid(chart, x, y, top), datasource, targets, chart.text))
        top = bottom(panels)
    return grafana("tapline-metrics", "Tapline: programs", "Probes, collector, analyzer, outputs and console, from their /metrics.", "prometheus", panels)


def column(panel, metric):
    """How Grafana names a metric's column."""
    several = sum(1 for other in panel.metrics if other.operation == metric.operation) > 1
    return COLUMNS[metric.operation] + (f" {metric.field}" if several else "")


def shown_unit(metric):
    """How many addresses there are is no address."""
    return "short" if metric.operation == "cardinality" else unit_of(metric.field)


def asked(name, datasource, panel, metrics, alias):
    """One question with the panel's division."""
    found = []
    for number, metric in enumerate(metrics, 1):
        settings = {"percents": [str(percent) for percent in metric.percents]} if metric.percents else {}
        found.append({"id": str(number), "type": metric.operation, "settings": settings, **({"field": metric.field} if metric.field else {})})
    first = metrics[0]
    order = {"orderBy": "_count" if first.operation == "count" else "1", "order": "asc" if first.operation == "min" else "desc"}
    buckets = [{"id": str(len(found) + place), "type": "terms", "field": field, "settings": {**order, "size": str(panel.size if place == 1 else 5), "min_doc_count": "1"}}
               for place, field in enumerate(panel.by, 1)]
    if panel.kind in ("over_time", "number"):
        # Grafana divides in any case. One number over all the time is one interval: of a hundred years, so that the next begins in 2069.
        interval = "auto" if panel.kind == "over_time" else "36500d"
        buckets.append({"id": str(len(found) + len(buckets) + 1), "type": "date_histogram", "field": TIME,
                        "settings": {"interval": interval, "min_doc_count": "0", "trimEdges": "0"}})
    return {"refId": name, "datasource": datasource, "query": panel.query, "timeField": TIME, "alias": alias, "metrics": found, "bucketAggs": buckets}


def questions(panel, datasource):
    """A table's figures are columns of one question; what is drawn or stands alone is asked for one by one, since the name is the question's."""
    if panel.kind not in ("over_time", "number"):
        return [asked("A", datasource, panel, panel.metrics, "")]
    alias = lambda metric: f"{{{{term {panel.by[0]}}}}}" if panel.by else "{{metric}}" if metric.percents else metric.label
    return [asked(chr(65 + number), datasource, panel, [metric], alias(metric)) for number, metric in enumerate(panel.metrics)]


def events_in_grafana():
    panels, top = [], 0
    datasource = {"type": "elasticsearch", "uid": "${datasource}"}
    kinds = {"over_time": "timeseries", "top": "barchart", "share": "piechart", "table": "table", "number": "stat"}
    for dashboard in source.EVENTS:
        inner = []
        for panel, x, y in places(dashboard.panels):
            found = drawn(kinds[panel.kind], panel.title, shown_unit(panel.metrics[0]), grid(panel, x, y, top + 1), datasource, questions(panel, datasource))
            if panel.kind == "over_time" and panel.stacked:
                found["fieldConfig"]["defaults"]["custom"] = {"drawStyle": "bars", "fillOpacity": 80, "lineWidth": 0, "stacking": {"mode": "normal", "group": "A"}}
            elif panel.kind not in ("over_time", "number"):
                found["fieldConfig"]["overrides"] = [
                    {"matcher": {"id": "byName", "options": column(panel, metric)},
                     "properties": [{"id": "displayName", "value": metric.label}, {"id": "unit", "value": shown_unit(metric)}]} for metric in panel.metrics]
                found["fieldConfig"]["defaults"]["unit"] = "none"
            if panel.kind in ("top", "share"):
                # Ports and status codes are names here, and bars want names that are text.
                found["transformations"] = [{"id": "convertFieldType", "options": {"conversions": [{"targetField": panel.by[0], "destinationType": "string"}], "fields": {}}}]
            inner.append(found)
        # The first is open; the others ask nothing before they are opened.
        is_open = not panels
        title = dashboard.title.split(": ")[1]
        panels.append(row(title[0].upper() + title[1:], top, None if is_open else inner))
        panels += inner if is_open else []
        top = bottom(inner) if is_open else top + 1
    return grafana("tapline-events", "Tapline: events", "What Tapline decoded, from an Elasticsearch data source.", "elasticsearch", panels)


def files():
    """The text of every file by name."""
    return {"kibana.ndjson": saved_objects(KIBANA), "opensearch.ndjson": saved_objects(OPENSEARCH), "grafana-metrics.json": metrics_of_programs(),
            "grafana-events.json": events_in_grafana()}


def stale():
    """Names of the files that are not what source.py says."""
    def text(name):
        path = os.path.join(HERE, name)
        if not os.path.exists(path):
            return None
        with open(path, encoding="utf-8") as file:
            return file.read()

    return [name for name, wanted in files().items() if text(name) != wanted]


def main():
    names = stale()
    if "--check" in sys.argv[1:]:
        sys.exit(f"not current: {', '.join(names)}; run packaging/dashboards/generate.py" if names else 0)
    for name in names:
        with open(os.path.join(HERE, name), "w", encoding="utf-8") as file:
            file.write(files()[name])
        print(f"wrote {name}")


if __name__ == "__main__":
    main()
