-- Persons of three states who sell in category 10: an inner join without bound, whichever side is first.
-- Room: the official SQL has the states in capitals, this generator writes them small.
SELECT p.name, p.city, p.state, a.id
FROM auction a JOIN person p ON a.seller = p.id
WHERE a.category = 10 AND upper(p.state) IN ('OR', 'ID', 'CA')
