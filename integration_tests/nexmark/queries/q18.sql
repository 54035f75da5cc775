-- The last bid of each bidder on each auction.
-- Room: of bids of the same millisecond the official SQL takes any; here the one with the highest seq. Final rows, given
-- at the end of the input.
SELECT auction, bidder, price, channel, url, "dateTime", extra FROM bid
QUALIFY row_number() OVER (PARTITION BY bidder, auction ORDER BY "dateTime" DESC, seq DESC) = 1
