"""What the benchmarks declare: one source of twelve columns and the entity that it feeds."""

from __future__ import annotations

SOURCE = """
type: dataflow_assets.Source
attributes:
  name: readings
  partitions: {every: day, start: 2024-01-01, end: 2025-01-01}
  extract: {files: {path: "{date:%Y-%m-%d}.csv"}}
  contract:
    key: [event_id]
    keep: {latest_by: updated_at}
    columns:
      id: {type: int64, required: true, min: 0}
      event_id: {type: string, pattern: "ev-[0-9]{10}"}
      occurred_at: {type: timestamp, required: true, formats: ["%Y-%m-%dT%H:%M:%S%.fZ"]}
      updated_at: {type: timestamp, required: true, formats: ["%Y-%m-%dT%H:%M:%S%.fZ"]}
      magnitude: {type: float64, min: -2, max: 10}
      depth: float64
      latitude: {type: float64, min: -90, max: 90}
      longitude: {type: float64, min: -180, max: 180}
      status: {type: string, one_of: [automatic, reviewed, deleted]}
      place: {type: string, max_length: 80}
      stations: {type: int64, min: 0}
      comment: string
    rules:
      depth_above_core: {sql: "depth >= -10 and depth < 2900"}
---
type: dataflow_assets.Entity
attributes:
  name: events
  key: [event_id]
  columns:
    event_id: string
    occurred_at: timestamp
    magnitude: float64
    depth: float64
    latitude: float64
    longitude: float64
    place: string
    stations: int64
  from:
    readings:
      event_id: event_id
      occurred_at: occurred_at
      magnitude: magnitude
      depth: depth
      latitude: latitude
      longitude: longitude
      place: "lower(trim(place))"
      stations: stations
"""
