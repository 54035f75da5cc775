-- Each auction with its winning bid: the highest valid one, of equal ones the first (by time; the official SQL ends
-- there, here then by seq). Valid is a bid made from the auction's beginning to its expiry, both included.
-- Room: Flink updates with every bid; here there is one row for each auction, when it has expired, and none for one
-- without a valid bid. At the end of the input all have expired.
SELECT a.id, a."itemName", a.description, a."initialBid", a.reserve, a."dateTime", a.expires, a.seller, a.category, a.extra,
    b.auction, b.bidder, b.price, b."dateTime" AS "bid_dateTime", b.extra AS bid_extra
FROM auction a JOIN bid b ON a.id = b.auction AND b."dateTime" BETWEEN a."dateTime" AND a.expires
QUALIFY row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b."dateTime", b.seq) = 1
