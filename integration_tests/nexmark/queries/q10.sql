-- Every bid with its day and its minute, of UTC.
-- Room: the official table is partitioned by both; here they are fields of the row.
SELECT auction, bidder, price, "dateTime", extra,
    strftime(make_timestamp("dateTime" * 1000), '%Y-%m-%d') AS dt,
    strftime(make_timestamp("dateTime" * 1000), '%H:%M') AS hm
FROM bid
