-- How many bids each bidder made in each ten seconds of processing time.
-- Room: processing time cannot be compared between engines. PROCTIME() of a bid is taken to be the time the generator
-- gives it.
SELECT bidder, count(*) AS bid_count, "dateTime" // 10000 * 10000 AS starttime, "dateTime" // 10000 * 10000 + 10000 AS endtime
FROM bid GROUP BY bidder, starttime, endtime
