-- The ten highest bids of each auction.
-- Room: of equal prices the official SQL takes any order; here the lower seq is first. Final rows, given at the end of the
-- input.
SELECT auction, bidder, price, channel, url, "dateTime", extra,
    row_number() OVER (PARTITION BY auction ORDER BY price DESC, seq) AS rank_number
FROM bid QUALIFY rank_number <= 10
