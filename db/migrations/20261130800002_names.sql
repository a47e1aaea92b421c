-- migrate:up
-- A name reads as a name: one visible line, without addresses of sites. What our mail and pages show.
set local role neurant_owner;

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
  'Whether a text is one visible line that says something: NFC, single spaces, nothing hidden, no piled-up marks. neurant/names.py has the same ranges, and a test compares the two.';

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
  'reads_as_label, and no address of a site or a mailbox: a company''s or a person''s name goes out in mails to strangers. A bare domain (Mercado.com) is an honest name and passes; the mail keeps programs from making a link of it.';

-- A check constraint calls its functions as whoever writes the row.
grant execute on function private.reads_as_label(text), private.reads_as_name(text)
  to neurant_router, neurant_worker, authenticated;

alter table public.companies add constraint companies_name_reads_check
  check (private.reads_as_name(name)) not valid;
alter table public.users
  add constraint users_first_name_reads_check check (first_name = '' or private.reads_as_name(first_name)) not valid,
  add constraint users_last_name_reads_check
    check (last_name = '' or private.reads_as_name(last_name)) not valid;
alter table public.auth_accounts
  add constraint auth_accounts_names_read_check check ((first_name = '' or private.reads_as_name(first_name))
    and (last_name = '' or private.reads_as_name(last_name))) not valid;
alter table public.sign_ups
  add constraint sign_ups_names_read_check check ((first_name = '' or private.reads_as_name(first_name))
    and (last_name = '' or private.reads_as_name(last_name))) not valid;
alter table public.user_invitations
  add constraint user_invitations_names_read_check check (
    (first_name is null or first_name = '' or private.reads_as_name(first_name))
    and (last_name is null or last_name = '' or private.reads_as_name(last_name))) not valid;
alter table public.sso_connections add constraint sso_connections_name_reads_check
  check (private.reads_as_name(name)) not valid;
alter table public.chatbots add constraint chatbots_name_reads_check
  check (private.reads_as_name(name)) not valid;
alter table public.channel_accounts add constraint channel_accounts_name_reads_check
  check (private.reads_as_name(display_name)) not valid;
alter table public.api_keys add constraint api_keys_name_reads_check
  check (private.reads_as_label(name)) not valid;
alter table public.integrations add constraint integrations_name_reads_check
  check (private.reads_as_label(name)) not valid;
alter table public.documents add constraint documents_names_read_check check (
  private.reads_as_label(original_filename)
  and (title is null or private.reads_as_label(title))) not valid;

reset role;

-- What was taken before is made readable; where nothing readable is left it is called by what it is.
create function pg_temp.readable(p_text text, p_else text, p_is_name boolean) returns text
language plpgsql immutable as $$
declare
  v_plain text := normalize(p_text, nfc);
begin
  v_plain := regexp_replace(v_plain, '[\ufe00-\ufe0f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\u00ad]', '', 'g');
  v_plain := regexp_replace(v_plain, '[\u0001-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+', ' ', 'g');
  if p_is_name then
    v_plain := regexp_replace(v_plain, '\m(https?|ftps?|mailto|javascript|data|tel|sms|file|wss?)\s*:(//)?|\mwww\d*\.', ' ', 'gi');
    v_plain := regexp_replace(v_plain, '[/\\?#:@]', ' ', 'g');
    v_plain := regexp_replace(v_plain, '[0-9]{1,3}(\.[0-9]{1,3}){3}', ' ', 'g');
  end if;
  v_plain := btrim(regexp_replace(v_plain, ' +', ' ', 'g'));
  return case
    when p_is_name and not private.reads_as_name(v_plain) then p_else
    when not private.reads_as_label(v_plain) then p_else
    else v_plain end;
end $$;

update public.companies set name = pg_temp.readable(name, 'Empresa', true)
where not private.reads_as_name(name);
update public.users set first_name = pg_temp.readable(first_name, 'Persona', true),
  last_name = pg_temp.readable(last_name, '', true)
where first_name <> '' and not private.reads_as_name(first_name)
  or last_name <> '' and not private.reads_as_name(last_name);
update public.auth_accounts set first_name = pg_temp.readable(first_name, 'Persona', true),
  last_name = pg_temp.readable(last_name, '', true)
where first_name <> '' and not private.reads_as_name(first_name)
  or last_name <> '' and not private.reads_as_name(last_name);
update public.sign_ups set first_name = pg_temp.readable(first_name, 'Persona', true),
  last_name = pg_temp.readable(last_name, '', true)
where first_name <> '' and not private.reads_as_name(first_name)
  or last_name <> '' and not private.reads_as_name(last_name);
update public.user_invitations set first_name = pg_temp.readable(first_name, null, true),
  last_name = pg_temp.readable(last_name, null, true)
where first_name <> '' and not private.reads_as_name(first_name)
  or last_name <> '' and not private.reads_as_name(last_name);
update public.sso_connections set name = pg_temp.readable(name, 'SSO', true)
where not private.reads_as_name(name);
update public.chatbots set name = pg_temp.readable(name, 'Bot', true)
where not private.reads_as_name(name);
update public.channel_accounts set display_name = pg_temp.readable(display_name, 'Chat', true)
where not private.reads_as_name(display_name);
update public.api_keys set name = pg_temp.readable(name, 'API', false)
where not private.reads_as_label(name);
update public.integrations set name = pg_temp.readable(name, 'Integración', false)
where not private.reads_as_label(name);
update public.documents set
  original_filename = pg_temp.readable(original_filename, 'documento', false),
  title = pg_temp.readable(title, null, false)
where not private.reads_as_label(original_filename) or not private.reads_as_label(title);
drop function pg_temp.readable(text, text, boolean);
-- migrate:down
