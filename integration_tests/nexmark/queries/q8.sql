-- Persons who sell in the ten seconds in which they registered; each once per window.
WITH registered AS (
    SELECT DISTINCT id, name, "dateTime" // 10000 * 10000 AS stime FROM person
), sold AS (
    SELECT DISTINCT seller, "dateTime" // 10000 * 10000 AS stime FROM auction
)
SELECT r.id, r.name, r.stime FROM registered r JOIN sold s ON r.id = s.seller AND r.stime = s.stime
