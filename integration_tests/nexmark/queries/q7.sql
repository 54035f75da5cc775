-- The highest bids of each ten seconds. The official SQL joins by price and takes bids from ten seconds before the
-- window's end to the end, both included: so a bid at the very end of a window counts if it equals that window's maximum.
-- Room: the official INSERT has price and bidder the wrong way round; fields are named here for what they hold, in the
-- order of the SELECT.
WITH highest AS (
    SELECT max(price) AS price, "dateTime" // 10000 * 10000 + 10000 AS ends FROM bid GROUP BY ends
)
SELECT b.auction, b.price, b.bidder, b."dateTime", b.extra
FROM bid b JOIN highest h ON b.price = h.price AND b."dateTime" BETWEEN h.ends - 10000 AND h.ends
