"""What the benchmarks declare: each time one source and the entity that it feeds."""

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

LINEITEM = """
type: dataflow_assets.Source
attributes:
  name: tpch_lineitem
  partitions: {values: [tpch]}
  extract: {files: {path: "{partition}/lineitem.csv"}}
  contract:
    key: [l_orderkey, l_linenumber]
    unknown_columns: freeze
    columns:
      l_orderkey: {type: int64, min: 1}
      l_partkey: {type: int64, required: true, min: 1}
      l_suppkey: {type: int64, required: true, min: 1}
      l_linenumber: {type: int32, min: 1, max: 7}
      l_quantity: {type: "decimal(15, 2)", required: true, min: 1, max: 50}
      l_extendedprice: {type: "decimal(15, 2)", required: true, min: 0}
      l_discount: {type: "decimal(15, 2)", required: true, min: 0, max: 0.1}
      l_tax: {type: "decimal(15, 2)", required: true, min: 0, max: 0.08}
      l_returnflag: {type: string, required: true, one_of: ["A", "N", "R"]}
      l_linestatus: {type: string, required: true, one_of: ["F", "O"]}
      l_shipdate: {type: date, required: true, min: 1992-01-01, max: 1998-12-31}
      l_commitdate: {type: date, required: true, min: 1992-01-01, max: 1998-12-31}
      l_receiptdate: {type: date, required: true, min: 1992-01-01, max: 1998-12-31}
      l_shipinstruct:
        {type: string, one_of: [COLLECT COD, DELIVER IN PERSON, NONE, TAKE BACK RETURN]}
      l_shipmode: {type: string, one_of: [AIR, FOB, MAIL, RAIL, REG AIR, SHIP, TRUCK]}
      l_comment: {type: string, max_length: 44}
    rules:
      received_after_shipped: {sql: "l_receiptdate > l_shipdate"}
---
type: dataflow_assets.Entity
attributes:
  name: lineitem
  key: [order_key, line_number]
  columns:
    order_key: int64
    part_key: int64
    supplier_key: int64
    line_number: int32
    quantity: decimal(15, 2)
    extended_price: decimal(15, 2)
    discount: decimal(15, 2)
    tax: decimal(15, 2)
    return_flag: string
    line_status: string
    shipped_on: date
    committed_on: date
    received_on: date
    instructions: string
    mode: string
    comment: string
  from:
    tpch_lineitem:
      order_key: l_orderkey
      part_key: l_partkey
      supplier_key: l_suppkey
      line_number: l_linenumber
      quantity: l_quantity
      extended_price: l_extendedprice
      discount: l_discount
      tax: l_tax
      return_flag: l_returnflag
      line_status: l_linestatus
      shipped_on: l_shipdate
      committed_on: l_commitdate
      received_on: l_receiptdate
      instructions: l_shipinstruct
      mode: l_shipmode
      comment: l_comment
"""
