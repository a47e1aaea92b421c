-- migrate:up
-- How often an address is written to is counted by what for: a sign-up takes no reset away.
set local role neurant_owner;

drop function private.allow_mail(text, timestamptz);

create function private.mail_key(p_purpose text, p_email text) returns bytea
language sql immutable set search_path = '' as $$
  select sha256(convert_to(concat_ws('|', 'mail', p_purpose, p_email), 'UTF8'))
$$;
comment on function private.mail_key(text, text) is
  'What mails to an address count against: by purpose, and no address is kept.';

create function private.allow_mail(
  p_purpose text, p_email text, p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_key bytea := private.mail_key(p_purpose, p_email);
  v_sent timestamptz[];
begin
  insert into public.account_brakes as b (key_digest, touched_at) values (v_key, p_now)
  on conflict (key_digest) do update set touched_at = greatest(b.touched_at, p_now);
  select coalesce(array_agg(s.at order by s.at), '{}') into v_sent
  from public.account_brakes b cross join lateral unnest(b.mailed_at) s (at)
  where b.key_digest = v_key and s.at > p_now - interval '1 hour';
  if v_sent[cardinality(v_sent)] > p_now - interval '60 seconds' then
    return ceil(extract(epoch from v_sent[cardinality(v_sent)] + interval '60 seconds' - p_now));
  elsif cardinality(v_sent) >= 5 then
    return ceil(extract(epoch from v_sent[1] + interval '1 hour' - p_now));
  end if;
  update public.account_brakes b set mailed_at = v_sent || p_now where b.key_digest = v_key;
  return 0;
end $$;
comment on function private.allow_mail(text, text, timestamptz) is
  'Whether an address may be written to for this purpose (sign_up, verification, reset): 0 (and it is counted), or the seconds until then. A minute between two, five an hour; addresses without an account count the same. Definer, as brake.';

grant execute on function private.mail_key(text, text) to neurant_router;
grant execute on function private.allow_mail(text, text, timestamptz) to neurant_app;
alter function private.allow_mail(text, text, timestamptz) owner to neurant_router;
reset role;

set local role neurant_router;
create or replace function private.finish_password_reset(
  p_token_digest bytea, p_encrypted_password text, p_now timestamptz default now())
returns table (outcome text, auth_user_id uuid, email text)
language plpgsql security definer set search_path = '' as $$
declare
  v_reset public.password_resets;
  v_email text;
begin
  select r.* into v_reset from public.password_resets r
  where r.token_digest = p_token_digest for update;
  if v_reset.auth_user_id is null or v_reset.used_at is not null or v_reset.expires_at <= p_now then
    return query select case when v_reset.auth_user_id is null then 'unknown'
      when v_reset.used_at is not null then 'used' else 'expired' end, null::uuid, null::text;
    return;
  end if;
  -- The links before and after it, too: whoever reads old mail finds none that works.
  update public.password_resets r set used_at = p_now
  where r.auth_user_id = v_reset.auth_user_id and r.used_at is null;
  perform private.note_login_event(
    v_reset.auth_user_id, 'update', '{"event": "password_changed", "by_mail": true}');
  perform private.set_password(v_reset.auth_user_id, p_encrypted_password, null);
  select lower(a.email) into v_email from auth.users a where a.id = v_reset.auth_user_id;
  -- Who is held back has a link that works: with the links, what held back is over.
  update public.account_brakes b set mailed_at = '{}'
  where b.key_digest = (select private.mail_key('reset', v_email));
  return query select 'changed', v_reset.auth_user_id, v_email;
end $$;
reset role;
-- migrate:down
