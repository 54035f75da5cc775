-- The auctions with the most bids in the last ten seconds, every two: all of them if several have as many.
-- Windows begin at multiples of two seconds since the epoch; each that holds a bid counts, also those cut by the
-- beginning and the end of the input.
WITH spread AS (
    SELECT auction, unnest(range("dateTime" // 2000 * 2000 - 8000, "dateTime" + 1, 2000)) AS starttime FROM bid
), counted AS (
    SELECT auction, starttime, count(*) AS num FROM spread GROUP BY auction, starttime
)
SELECT auction, num FROM (SELECT *, max(num) OVER (PARTITION BY starttime) AS most FROM counted) WHERE num = most
