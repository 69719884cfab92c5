-- Run once, when the server's volume is empty. The tables are in the database that the server makes
-- by itself; what Dagster knows of its runs is in this one.
create database dagster;
