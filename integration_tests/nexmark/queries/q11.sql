-- How many bids each bidder made without a pause of more than ten seconds; a session ends ten seconds after its last bid.
-- Room: bids exactly ten seconds apart. In Flink windows that touch are merged, so these are of one session.
WITH marked AS (
    SELECT bidder, "dateTime", seq,
        coalesce("dateTime" - lag("dateTime") OVER (PARTITION BY bidder ORDER BY "dateTime", seq) > 10000, true) AS begins
    FROM bid
), numbered AS (
    SELECT *, count(*) FILTER (begins) OVER (PARTITION BY bidder ORDER BY "dateTime", seq
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS session
    FROM marked
)
SELECT bidder, count(*) AS bid_count, min("dateTime") AS starttime, max("dateTime") + 10000 AS endtime
FROM numbered GROUP BY bidder, session
