-- Bids of some height, by the time of day, with how often their extra has a 'c'.
-- Room: HOUR() is of the session's time zone, here UTC. The price is a decimal: a string, see q1.
WITH euros AS (
    SELECT *, CAST(0.908 * price AS DECIMAL(23, 3)) AS eur, hour(make_timestamp("dateTime" * 1000)) AS h FROM bid
)
SELECT auction, bidder, CAST(eur AS VARCHAR) AS price,
    CASE WHEN h >= 8 AND h <= 18 THEN 'dayTime' WHEN h <= 6 OR h >= 20 THEN 'nightTime' ELSE 'otherTime' END AS "bidTimeType",
    "dateTime", extra, length(extra) - length(replace(extra, 'c', '')) AS c_counts
FROM euros WHERE eur > 1000000 AND eur < 50000000
