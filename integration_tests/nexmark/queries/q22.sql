-- Every bid with the first three directories of its page.
-- Room: SPLIT_INDEX counts from 0 and gives NULL where there is no such part; so does a list beyond its end, from 1.
SELECT auction, bidder, price, channel, parts[4] AS dir1, parts[5] AS dir2, parts[6] AS dir3
FROM (SELECT *, string_split(url, '/') AS parts FROM bid)
