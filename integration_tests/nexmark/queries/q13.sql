-- Every bid with what a table says of the last four digits of its auction's number.
-- Room: the official table is a file of 10,000 rows, read as it is at processing time, with generated values. Here the
-- value of n is 'value-n', and does not change.
WITH side_input AS (SELECT range AS key, 'value-' || range AS value FROM range(10000))
SELECT b.auction, b.bidder, b.price, b."dateTime", s.value
FROM bid b JOIN side_input s ON b.auction % 10000 = s.key
