-- For each seller, the mean price of the last auctions: the ten before and the current one, by the time of the winning
-- bid (then the auction's number). The highest valid bid wins; of equal ones the first (by time, then seq). The mean
-- drops its fraction.
-- Room: the official SQL does not run in Flink (an OVER window on an updating table). Here an auction counts when it has
-- expired, and a row is given for each, with auctions = how many of the seller's have counted by then. That is one field
-- more than the official row: of a seller, the row with the highest number is final, and here. It is the mean over the
-- last eleven of all of the seller's auctions, so it does not depend on the order in which they expired.
WITH won AS (
    SELECT a.id, a.seller, b.price, b."dateTime"
    FROM auction a JOIN bid b ON a.id = b.auction AND b."dateTime" BETWEEN a."dateTime" AND a.expires
    QUALIFY row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b."dateTime", b.seq) = 1
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY seller ORDER BY "dateTime" DESC, id DESC) AS back,
        count(*) OVER (PARTITION BY seller) AS auctions
    FROM won
)
SELECT seller, CAST(sum(price) // count(*) AS BIGINT) AS avg_price, any_value(auctions) AS auctions
FROM ranked WHERE back <= 11 GROUP BY seller
