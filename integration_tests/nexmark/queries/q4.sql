-- For each category, the mean of its auctions' highest valid bids; valid is a bid made from the auction's beginning
-- to its expiry, both included. The mean is of integers and drops its fraction, as AVG of BIGINT does in Flink.
-- Room: Flink updates with every bid. Here an auction counts when it has expired (all have at the end of the input),
-- and a row is given for each of them, with auctions = how many of the category have counted by then. That is one
-- field more than the official row: of a category, the row with the highest number is final, and here.
WITH highest AS (
    SELECT a.id, a.category, max(b.price) AS price
    FROM auction a JOIN bid b ON a.id = b.auction AND b."dateTime" BETWEEN a."dateTime" AND a.expires
    GROUP BY a.id, a.category
)
SELECT category AS id, CAST(sum(price) // count(*) AS BIGINT) AS final, count(*) AS auctions
FROM highest GROUP BY category
