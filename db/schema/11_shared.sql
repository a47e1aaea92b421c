-- Text search configurations, and the functions that the checks and triggers of several subjects
-- call.

-- For documents: Spanish stems, matched with or without accents.
create text search configuration private.spanish (copy = pg_catalog.spanish);
alter text search configuration private.spanish
  alter mapping for hword, hword_part, word with extensions.unaccent, spanish_stem;

-- For the inbox's search: like private.spanish, but without stemming, because a search query that
-- is still being typed ends with the beginning of a word, not with a stem.
create text search dictionary private.words (template = pg_catalog.simple, stopwords = spanish);
create text search configuration private.words (copy = pg_catalog.simple);
alter text search configuration private.words
  alter mapping for asciiword, word, numword, asciihword, hword, numhword, hword_asciipart,
    hword_part, hword_numpart, email, url, url_path, host, file
  with extensions.unaccent, private.words;

create function private.is_timezone(p_name text) returns boolean
language plpgsql immutable set search_path = '' as $$
begin
  -- 'foo5' and '<x>-167' are time zones to PostgreSQL; a clock that people live by has a name.
  if p_name !~ '^(UTC|[A-Z][A-Za-z_]+(/[A-Z][A-Za-z0-9_+-]+){1,2})$' then
    return false;
  end if;
  perform pg_catalog.timezone(p_name, timestamptz '2000-01-01 00:00:00+00');
  return true;
exception when invalid_parameter_value then
  return false;
end $$;
grant execute on function private.is_timezone(text) to authenticated, neurant_worker,
  neurant_router;

create function private.update_updated_at_column() returns trigger
language plpgsql set search_path = '' as $$
begin
  new.updated_at := now();
  return new;
end $$;

create function private.reads_as_label(p_text text) returns boolean
language sql immutable set search_path = '' as $$
  select p_text is nfc normalized
    and p_text !~ '^ | $|  '
    -- Control, format, bidirectional and default-ignorable characters, other spaces, separators,
    -- blanks that are letters to Unicode, private use, noncharacters.
    and p_text !~ (('['
    '\u0001-\u001f\u007f-\u00a0\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2'
    '\u115f-\u1160\u1680\u17b4-\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f'
    '\u2800\u3000\u3164\ue000-\uf8ff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff'
    '\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a'
    '\U000e0000-\U0010ffff'
    ']') collate pg_catalog."C")
    -- Combining marks: none at the start, three at most in a row.
    and normalize(p_text, nfd) !~ (('^[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]|'
    '[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{4}') collate pg_catalog."C")
    -- Something besides punctuation, symbols and pictures.
    and p_text ~ (('[^'
    '\u0020-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00a9\u00ab-\u00b4\u00b6-\u00b9'
    '\u00bb-\u00bf\u0300-\u036f\u2010-\u2bff\u2e00-\u2e7f\u3001-\u3003\u3008-\u3020\u3030'
    '\ufe10-\ufe6f\uff01-\uff0f\uff1a-\uff20\U0001f000-\U0001faff'
    ']') collate pg_catalog."C")
$$;
comment on function private.reads_as_label(text) is
  'Returns whether a text is one visible line with content: NFC, single spaces, no hidden characters, at most a few combining marks in a row. neurant/core/names.py has the same character ranges, and a test compares the two.';
grant execute on function private.reads_as_label(text) to authenticated, neurant_worker,
  neurant_router;

create function private.reads_as_name(p_text text) returns boolean
language sql immutable set search_path = '' as $$
  select private.reads_as_label(p_text)
    -- Of the compatibility form, as browsers read an address (UTS 46).
    and replace(normalize(p_text, nfkc), U&'\3002', '.') collate pg_catalog."C"
    !~* ('//|\mwww\d*\.|\m(https?|ftps?|mailto|javascript|data|tel|sms|file|wss?)\s*:'
    '|[^\s.,;()]\.[^\s0-9.,;()/\\?#:]{2,}[/\\?#:]'
    '|[0-9]{1,3}(\.[0-9]{1,3}){3}'
    '|[^\s@]@[^\s@]+\.[^\s@]')
$$;
comment on function private.reads_as_name(text) is
  'Returns whether a text passes reads_as_label and contains no address of a site or a mailbox, because names of companies and people are sent to strangers by mail. A bare domain (Mercado.com) is a legitimate name and passes; the mail prevents programs from turning it into a link.';
grant execute on function private.reads_as_name(text) to authenticated, neurant_worker,
  neurant_router;

create function private.is_https(p_url text) returns boolean
language sql immutable set search_path = '' as $$
  select p_url ~ '^https://[^[:space:]/?#@]+([/?#][^[:space:]]*)?$' and char_length(p_url) <= 2000
$$;
comment on function private.is_https(text) is
  'Returns whether a text is an https address of a picture or page that a browser may be sent to.';
grant execute on function private.is_https(text) to authenticated, neurant_worker, neurant_router;
