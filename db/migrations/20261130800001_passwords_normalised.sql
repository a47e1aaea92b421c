-- migrate:up
-- A password is hashed in its normalised form: an older hash is replaced when its owner signs in.
set local role neurant_owner;

create function private.rehash_password(
  p_auth_user uuid, p_known_hash text, p_encrypted_password text) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
begin
  update auth.users a set encrypted_password = p_encrypted_password, updated_at = now()
  where a.id = p_auth_user and a.encrypted_password = p_known_hash;
  return found;
end $$;
comment on function private.rehash_password(uuid, text, text) is
  'Another hash of the same password, which its owner has just shown: no session ends and no mail is sent. Whether the known hash still stood. Definer: auth is closed to everybody, and who signs in is nobody yet.';

create function private.password_context(p_token_digest bytea) returns text[]
language sql stable security definer set search_path = '' as $$
  with person as (
    select s.auth_user_id from public.auth_sessions s
    where s.token_digest = p_token_digest and s.expires_at > now() and s.only_company_id is null
    union all
    select r.auth_user_id from public.password_resets r
    where r.token_digest = p_token_digest and r.used_at is null and r.expires_at > now())
  select coalesce(array_agg(distinct w.word), '{}')
  from person p
  cross join lateral (
    select unnest(array[u.first_name, u.last_name, c.name]::text[]) as word
    from public.users u
    join public.companies c on c.id = u.company_id
    where u.auth_user_id = p.auth_user_id
    union all
    select unnest(array[a.first_name, a.last_name]::text[])
    from public.auth_accounts a where a.auth_user_id = p.auth_user_id) w
  where w.word <> ''
$$;
comment on function private.password_context(bytea) is
  'Names that must not make up the password of the person whose session or mailed reset link this is: their own and those of their companies; none for a session that is limited to one company. Definer: nobody reads two companies at once.';

grant execute on function private.rehash_password(uuid, text, text),
  private.password_context(bytea) to neurant_app;
alter function private.rehash_password(uuid, text, text) owner to neurant_router;
alter function private.password_context(bytea) owner to neurant_router;
reset role;
-- migrate:down
