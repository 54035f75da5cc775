-- Every bid, its price in euros. DECIMAL(23, 3) as in the official table; a string in JSON, so that no digit is lost.
SELECT auction, bidder, CAST(CAST(0.908 * price AS DECIMAL(23, 3)) AS VARCHAR) AS price, "dateTime", extra FROM bid
