-- Bids of each auction and day, by their height, and their prices. The mean drops its fraction.
-- Room: Flink updates with every bid; here there is one row when the day has ended, and days are of UTC.
SELECT auction, strftime(make_timestamp("dateTime" * 1000), '%Y-%m-%d') AS day,
    count(*) AS total_bids,
    count(*) FILTER (price < 10000) AS rank1_bids,
    count(*) FILTER (price >= 10000 AND price < 1000000) AS rank2_bids,
    count(*) FILTER (price >= 1000000) AS rank3_bids,
    min(price) AS min_price,
    max(price) AS max_price,
    CAST(sum(price) // count(*) AS BIGINT) AS avg_price,
    CAST(sum(price) AS BIGINT) AS sum_price
FROM bid GROUP BY auction, day
