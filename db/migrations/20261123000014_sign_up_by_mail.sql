-- migrate:up
-- Sign-up proven by mail, new passwords, and the second step of a login.
set local role neurant_owner;

create function private.begin_sign_up(
  p_email text, p_first_name text, p_last_name text, p_encrypted_password text,
  p_pending_digest bytea, p_link_digest bytea, p_code_digest bytea, p_accepts_terms boolean,
  p_now timestamptz default now())
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_is_new boolean := not exists (select from auth.users a where lower(a.email) = p_email);
begin
  insert into public.sign_ups (email, first_name, last_name, encrypted_password, pending_digest,
    link_digest, link_expires_at, code_digest, code_expires_at, terms_accepted_at, created_at)
  values (p_email, p_first_name, p_last_name, p_encrypted_password, p_pending_digest,
    case when v_is_new then p_link_digest end, p_now + interval '24 hours',
    case when v_is_new then p_code_digest end, p_now + interval '15 minutes',
    case when p_accepts_terms then p_now end, p_now);
  return case when v_is_new then 'new' else 'has_account' end;
end $$;
comment on function private.begin_sign_up(text, text, text, text, bytea, bytea, bytea, boolean, timestamptz) is
  'A sign-up that waits for its mail: new, or has_account (kept all the same, so that both answer alike). Definer: who signs up is nobody yet.';

create function private.renew_sign_up(
  p_pending_digest bytea, p_link_digest bytea, p_code_digest bytea, p_now timestamptz default now())
returns table (outcome text, email text, first_name text)
language plpgsql security definer set search_path = '' as $$
declare
  v_known public.sign_ups;
begin
  update public.sign_ups s
  set link_digest = case when s.link_digest is not null then p_link_digest end,
    code_digest = case when s.link_digest is not null then p_code_digest end,
    link_expires_at = p_now + interval '24 hours', code_expires_at = p_now + interval '15 minutes',
    code_attempts = 0
  where s.pending_digest = p_pending_digest and s.verified_at is null
    and s.created_at > p_now - interval '24 hours'
  returning s.* into v_known;
  if v_known.id is null then
    return;
  end if;
  return query select case when v_known.link_digest is null then 'has_account' else 'new' end,
    v_known.email::text, v_known.first_name::text;
end $$;
comment on function private.renew_sign_up(bytea, bytea, bytea, timestamptz) is
  'Another link and code for a sign-up; those before are void. No row where there is none that waits. Definer, as begin_sign_up.';

create function private.find_sign_up(
  p_pending_digest bytea, p_link_digest bytea, p_now timestamptz default now())
returns table (state text, email text, first_name text, encrypted_password text, is_own boolean)
language sql stable security definer set search_path = '' as $$
  select case
      when s.verified_at is not null then 'verified'
      when p_link_digest is not null and s.link_expires_at <= p_now
        or s.created_at <= p_now - interval '24 hours' then 'expired'
      else 'pending' end,
    s.email::text, s.first_name::text, s.encrypted_password,
    coalesce(s.pending_digest = p_pending_digest, false)
  from public.sign_ups s
  where case when p_link_digest is null then s.pending_digest = p_pending_digest
    else s.link_digest = p_link_digest end
$$;
comment on function private.find_sign_up(bytea, bytea, timestamptz) is
  'The sign-up of a link, else of a browser: pending, verified or expired. is_own: this browser began it. Definer, as begin_sign_up.';

create function private.verify_sign_up(
  p_pending_digest bytea, p_link_digest bytea, p_code_digest bytea, p_is_proven boolean,
  p_now timestamptz default now())
returns table (outcome text, auth_user_id uuid)
language plpgsql security definer set search_path = '' as $$
declare
  v_known public.sign_ups;
  v_login uuid;
begin
  select s.* into v_known from public.sign_ups s
  where case when p_link_digest is null then s.pending_digest = p_pending_digest
    else s.link_digest = p_link_digest end
  for update;
  if v_known.id is null then
    return query select 'unknown', null::uuid;
    return;
  elsif v_known.verified_at is not null then
    return query select 'verified_before', null::uuid;
    return;
  elsif p_link_digest is not null then
    if v_known.link_expires_at <= p_now then
      return query select 'expired', null::uuid;
      return;
    elsif not (p_is_proven or coalesce(v_known.pending_digest = p_pending_digest, false)) then
      return query select 'password_needed', null::uuid;
      return;
    end if;
  else
    if v_known.code_attempts >= 5 then
      return query select 'too_many', null::uuid;
      return;
    elsif v_known.code_expires_at <= p_now then
      return query select 'expired', null::uuid;
      return;
    elsif v_known.code_digest is distinct from p_code_digest or p_code_digest is null then
      update public.sign_ups s set code_attempts = s.code_attempts + 1 where s.id = v_known.id;
      return query select case when v_known.code_attempts >= 4 then 'too_many' else 'wrong_code' end,
        null::uuid;
      return;
    end if;
  end if;
  v_login := private.create_login(v_known.email, v_known.encrypted_password, true);
  if v_login is null then
    return query select 'taken', null::uuid;
    return;
  end if;
  insert into public.auth_accounts (auth_user_id, first_name, last_name, terms_accepted_at)
  values (v_login, v_known.first_name, v_known.last_name, v_known.terms_accepted_at);
  update public.sign_ups s set auth_user_id = v_login, verified_at = p_now,
    claimed_at = case when s.pending_digest = p_pending_digest then p_now end
  where s.id = v_known.id;
  return query select 'verified', v_login;
end $$;
comment on function private.verify_sign_up(bytea, bytea, bytea, boolean, timestamptz) is
  'The mailbox is proven, by the link (in the browser that signed up, or by who knows the password: p_is_proven) or by the code (five tries, in that browser), and the login is made: verified, unknown, expired, wrong_code, too_many, password_needed, verified_before, or taken (somebody else was first). Definer, as begin_sign_up.';

create function private.claim_sign_up(p_pending_digest bytea, p_now timestamptz default now())
returns uuid
language sql volatile security definer set search_path = '' as $$
  update public.sign_ups s set claimed_at = p_now
  where s.pending_digest = p_pending_digest and s.verified_at > p_now - interval '1 hour'
    and s.claimed_at is null
  returning s.auth_user_id
$$;
comment on function private.claim_sign_up(bytea, timestamptz) is
  'The browser that signed up goes on, once, after the link was opened elsewhere: the login, or null. Definer, as begin_sign_up.';

create function private.begin_password_reset(
  p_email text, p_token_digest bytea, p_now timestamptz default now())
returns table (auth_user_id uuid, first_name text)
language plpgsql security definer set search_path = '' as $$
declare
  v_login uuid := (select a.id from auth.users a where lower(a.email) = p_email);
begin
  if v_login is null then
    return;
  end if;
  insert into public.password_resets (token_digest, auth_user_id, created_at, expires_at)
  values (p_token_digest, v_login, p_now, p_now + interval '1 hour');
  perform private.note_login_event(v_login, 'update', '{"event": "password_reset_asked"}');
  return query select v_login, coalesce(
    (select p.first_name from public.auth_accounts p where p.auth_user_id = v_login),
    (select u.first_name from public.users u where u.auth_user_id = v_login
      order by u.created_at desc limit 1))::text;
end $$;
comment on function private.begin_password_reset(text, bytea, timestamptz) is
  'A link of an hour for whoever forgot their password; no row where the address has no account. Definer: who asks is nobody yet.';

create function private.find_password_reset(p_token_digest bytea, p_now timestamptz default now())
returns table (state text, email text)
language sql stable security definer set search_path = '' as $$
  select case when r.used_at is not null then 'used'
      when r.expires_at <= p_now then 'expired' else 'open' end, lower(a.email)
  from public.password_resets r
  join auth.users a on a.id = r.auth_user_id
  where r.token_digest = p_token_digest
$$;
comment on function private.find_password_reset(bytea, timestamptz) is
  'What a mailed link is worth: open, used or expired; no row for one that we never sent. Definer, as begin_password_reset.';

create function private.set_password(p_auth_user uuid, p_encrypted_password text, p_keep bytea)
returns void
language plpgsql security definer set search_path = '' as $$
begin
  update auth.users a set encrypted_password = p_encrypted_password, updated_at = now()
  where a.id = p_auth_user;
  delete from public.auth_sessions s
  where s.auth_user_id = p_auth_user and s.token_digest is distinct from p_keep;
  delete from public.login_challenges c where c.auth_user_id = p_auth_user;
end $$;
comment on function private.set_password(uuid, text, bytea) is
  'Another password: every session but one, and every login half done, ends. Definer: called by definers; auth is closed to everybody.';

create function private.finish_password_reset(
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
  return query select 'changed', v_reset.auth_user_id, v_email;
end $$;
comment on function private.finish_password_reset(bytea, text, timestamptz) is
  'Sets the password by a mailed link, once, and ends every session: changed, unknown, used or expired. One of two who race wins. Definer, as begin_password_reset.';

create function private.change_password(
  p_token_digest bytea, p_new_digest bytea, p_encrypted_password text)
returns boolean
language plpgsql security definer set search_path = '' as $$
declare
  v_login uuid := (
    select a.auth_user_id from public.auth_sessions a
    where a.token_digest = p_token_digest and a.expires_at > now());
begin
  if v_login is null then
    return false;
  end if;
  update public.password_resets r set used_at = now()
  where r.auth_user_id = v_login and r.used_at is null;
  perform private.note_login_event(v_login, 'update', '{"event": "password_changed"}');
  perform private.set_password(v_login, p_encrypted_password, p_token_digest);
  perform private.renew_session(p_token_digest, p_new_digest);
  return true;
end $$;
comment on function private.change_password(bytea, bytea, text) is
  'Whoever is signed in (and has shown the old one) sets another password; this session goes on under a new token, all others end. Definer: auth is closed to everybody.';

create function private.open_challenge(
  p_auth_user uuid, p_token_digest bytea, p_is_kept boolean, p_now timestamptz default now())
returns void
language sql volatile security definer set search_path = '' as $$
  insert into public.login_challenges (token_digest, auth_user_id, is_kept, created_at, expires_at)
  values (p_token_digest, p_auth_user, p_is_kept, p_now, p_now + interval '10 minutes')
$$;
comment on function private.open_challenge(uuid, bytea, boolean, timestamptz) is
  'The password was right; ten minutes for the code. Definer: the caller is nobody yet.';

create function private.find_challenge(p_token_digest bytea, p_now timestamptz default now())
returns table (auth_user_id uuid, email text, is_kept boolean)
language sql stable security definer set search_path = '' as $$
  select c.auth_user_id, lower(a.email), c.is_kept
  from public.login_challenges c
  join auth.users a on a.id = c.auth_user_id
  where c.token_digest = p_token_digest and c.expires_at > p_now
$$;
comment on function private.find_challenge(bytea, timestamptz) is
  'Whose login waits for its code. Definer, as open_challenge.';

create function private.close_challenge(p_token_digest bytea) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
begin
  delete from public.login_challenges c where c.token_digest = p_token_digest;
  return found;
end $$;
comment on function private.close_challenge(bytea) is
  'A login half done is done or given up; whether it was still there. Definer, as open_challenge.';

create function private.find_factor(p_auth_user uuid)
returns table (secret_encrypted bytea, is_confirmed boolean, created_at timestamptz, codes_left integer)
language sql stable security definer set search_path = '' as $$
  select f.secret_encrypted, f.confirmed_at is not null, f.created_at,
    (select count(*)::integer from public.recovery_codes r
      where r.auth_user_id = f.auth_user_id and r.used_at is null)
  from public.auth_factors f where f.auth_user_id = p_auth_user
$$;
comment on function private.find_factor(uuid) is
  'The second step of a login, to check a code against. Definer: factors are closed to everybody; the secret is sealed.';

create function private.use_factor_step(p_auth_user uuid, p_step bigint) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
begin
  update public.auth_factors f set last_step = p_step
  where f.auth_user_id = p_auth_user and f.last_step < p_step;
  return found;
end $$;
comment on function private.use_factor_step(uuid, bigint) is
  'Takes the code of a time step, unless it or a later one was taken before. Definer, as find_factor.';

create function private.use_recovery_code(p_auth_user uuid, p_code_digest bytea) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
begin
  update public.recovery_codes r set used_at = now()
  where r.auth_user_id = p_auth_user and r.code_digest = p_code_digest and r.used_at is null;
  if found then
    perform private.note_login_event(p_auth_user, 'update', '{"event": "recovery_code_used"}');
    return true;
  end if;
  return false;
end $$;
comment on function private.use_recovery_code(uuid, bytea) is
  'Takes a recovery code, once. Definer, as find_factor.';

create function private.begin_factor(p_token_digest bytea, p_secret_encrypted bytea) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
begin
  insert into public.auth_factors as f (auth_user_id, secret_encrypted)
  select a.auth_user_id, p_secret_encrypted from public.auth_sessions a
  where a.token_digest = p_token_digest and a.expires_at > now()
  on conflict (auth_user_id) do update
  set secret_encrypted = excluded.secret_encrypted, created_at = now(), last_step = 0
  where f.confirmed_at is null;
  return found;
end $$;
comment on function private.begin_factor(bytea, bytea) is
  'A new secret, to be confirmed by a code; false where the second step is on already. Definer, as find_factor.';

create function private.set_recovery_codes(p_auth_user uuid, p_code_digests bytea[]) returns void
language sql volatile security definer set search_path = '' as $$
  delete from public.recovery_codes r where r.auth_user_id = p_auth_user;
  insert into public.recovery_codes (auth_user_id, code_digest)
  select p_auth_user, d.digest from unnest(p_code_digests) d (digest)
$$;
comment on function private.set_recovery_codes(uuid, bytea[]) is
  'Other recovery codes instead of those before. Definer: called by definers.';

create function private.confirm_factor(
  p_token_digest bytea, p_new_digest bytea, p_step bigint, p_code_digests bytea[])
returns boolean
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_login uuid := (
    select a.auth_user_id from public.auth_sessions a
    where a.token_digest = p_token_digest and a.expires_at > now());
begin
  update public.auth_factors f set confirmed_at = now(), last_step = p_step
  where f.auth_user_id = v_login and f.confirmed_at is null and f.last_step < p_step;
  if not found then
    return false;
  end if;
  perform private.set_recovery_codes(v_login, p_code_digests);
  perform private.note_login_event(v_login, 'update', '{"event": "two_step_on"}');
  perform private.renew_session(p_token_digest, p_new_digest);
  return true;
end $$;
comment on function private.confirm_factor(bytea, bytea, bigint, bytea[]) is
  'The second step is on from now, with its recovery codes; the session goes on under a new token. False where nothing waits to be confirmed. Definer, as find_factor.';

create function private.renew_recovery_codes(p_token_digest bytea, p_code_digests bytea[])
returns boolean
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_login uuid;
begin
  select f.auth_user_id into v_login
  from public.auth_sessions a
  join public.auth_factors f on f.auth_user_id = a.auth_user_id and f.confirmed_at is not null
  where a.token_digest = p_token_digest and a.expires_at > now()
  for update of f;
  if v_login is null then
    return false;
  end if;
  perform private.set_recovery_codes(v_login, p_code_digests);
  perform private.note_login_event(v_login, 'update', '{"event": "recovery_codes_renewed"}');
  return true;
end $$;
comment on function private.renew_recovery_codes(bytea, bytea[]) is
  'Other recovery codes; those before are void. Definer, as find_factor.';

create function private.disable_factor(p_token_digest bytea, p_new_digest bytea) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_login uuid := (
    select a.auth_user_id from public.auth_sessions a
    where a.token_digest = p_token_digest and a.expires_at > now());
begin
  delete from public.auth_factors f where f.auth_user_id = v_login and f.confirmed_at is not null;
  if not found then
    return false;
  end if;
  perform private.note_login_event(v_login, 'update', '{"event": "two_step_off"}');
  perform private.renew_session(p_token_digest, p_new_digest);
  return true;
end $$;
comment on function private.disable_factor(bytea, bytea) is
  'The second step is off, its secret and codes are gone; the session goes on under a new token. Definer, as find_factor.';

grant execute on function
  private.begin_sign_up(text, text, text, text, bytea, bytea, bytea, boolean, timestamptz),
  private.renew_sign_up(bytea, bytea, bytea, timestamptz),
  private.find_sign_up(bytea, bytea, timestamptz),
  private.verify_sign_up(bytea, bytea, bytea, boolean, timestamptz),
  private.claim_sign_up(bytea, timestamptz),
  private.begin_password_reset(text, bytea, timestamptz),
  private.find_password_reset(bytea, timestamptz),
  private.finish_password_reset(bytea, text, timestamptz),
  private.change_password(bytea, bytea, text),
  private.open_challenge(uuid, bytea, boolean, timestamptz),
  private.find_challenge(bytea, timestamptz), private.close_challenge(bytea),
  private.find_factor(uuid), private.use_factor_step(uuid, bigint),
  private.use_recovery_code(uuid, bytea), private.begin_factor(bytea, bytea),
  private.confirm_factor(bytea, bytea, bigint, bytea[]),
  private.renew_recovery_codes(bytea, bytea[]), private.disable_factor(bytea, bytea)
  to neurant_app;
alter function private.begin_sign_up(text, text, text, text, bytea, bytea, bytea, boolean, timestamptz) owner to neurant_router;
alter function private.renew_sign_up(bytea, bytea, bytea, timestamptz) owner to neurant_router;
alter function private.find_sign_up(bytea, bytea, timestamptz) owner to neurant_router;
alter function private.verify_sign_up(bytea, bytea, bytea, boolean, timestamptz) owner to neurant_router;
alter function private.claim_sign_up(bytea, timestamptz) owner to neurant_router;
alter function private.begin_password_reset(text, bytea, timestamptz) owner to neurant_router;
alter function private.find_password_reset(bytea, timestamptz) owner to neurant_router;
alter function private.set_password(uuid, text, bytea) owner to neurant_router;
alter function private.finish_password_reset(bytea, text, timestamptz) owner to neurant_router;
alter function private.change_password(bytea, bytea, text) owner to neurant_router;
alter function private.open_challenge(uuid, bytea, boolean, timestamptz) owner to neurant_router;
alter function private.find_challenge(bytea, timestamptz) owner to neurant_router;
alter function private.close_challenge(bytea) owner to neurant_router;
alter function private.find_factor(uuid) owner to neurant_router;
alter function private.use_factor_step(uuid, bigint) owner to neurant_router;
alter function private.use_recovery_code(uuid, bytea) owner to neurant_router;
alter function private.begin_factor(bytea, bytea) owner to neurant_router;
alter function private.set_recovery_codes(uuid, bytea[]) owner to neurant_router;
alter function private.confirm_factor(bytea, bytea, bigint, bytea[]) owner to neurant_router;
alter function private.renew_recovery_codes(bytea, bytea[]) owner to neurant_router;
alter function private.disable_factor(bytea, bytea) owner to neurant_router;

reset role;
-- migrate:down
